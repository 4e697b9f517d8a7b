/** One mistake in one file: a piece of its text replaced by another. */

export interface Mutant {
  /** From the project's root. */
  readonly file: string;
  /** Of the first changed line, from 1. */
  readonly line: number;
  /** The lines it changes, in one, before and after: what it is known by, wherever they move. */
  readonly before: string;
  readonly after: string;
  /** The whole file with the mistake in it. */
  readonly text: string;
}

export interface Change {
  readonly from: number;
  readonly to: number;
  readonly replacement: string;
}

/** @throws {Error} for a change that changes nothing. */
export function mutantOf(file: string, source: string, change: Change): Mutant {
  const { from, to, replacement } = change;
  const text = source.slice(0, from) + replacement + source.slice(to);
  const start = source.lastIndexOf("\n", from - 1) + 1;
  const end = lineEnd(source, to);
  const before = inOneLine(source.slice(start, end));
  const after = inOneLine(text.slice(start, end + text.length - source.length));
  if (before === after) throw new Error(`Bug! ${file}: a mutant like its original: ${before}`);
  return { file, line: source.slice(0, from).split("\n").length, before, after, text };
}

export function nameOf({ file, before, after }: Omit<Mutant, "line" | "text">): string {
  return `${file}: ${before} → ${after}`;
}

/** Those that a line has twice, like `a === b || a === b`, are told apart by a number. */
export function told<T extends Mutant>(mutants: readonly T[]): T[] {
  const seen = new Map<string, number>();
  return mutants.map((mutant) => {
    const name = nameOf(mutant);
    const times = (seen.get(name) ?? 0) + 1;
    seen.set(name, times);
    return times === 1 ? mutant : { ...mutant, after: `${mutant.after} (${times})` };
  });
}

function lineEnd(source: string, at: number): number {
  const end = source.indexOf("\n", at);
  return end === -1 ? source.length : end;
}

function inOneLine(text: string): string {
  return text.trim().replaceAll(/\s+/g, " ");
}
