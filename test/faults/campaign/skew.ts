/** Clocks of nodes that can be set: by a small library that is compiled here and preloaded there. */
import { execFile } from "node:child_process";
import { closeSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { findOnPath } from "../../../infra/services/process.js";

const SOURCE = resolve("test/faults/campaign/skew.c");

export interface SettableClock {
  /** For the process whose clock it is. */
  readonly env: Readonly<Record<string, string>>;
  /** Off the true time by so many milliseconds, from now on. */
  set(offsetMs: number): void;
}

/** @returns nothing where it cannot be: it takes Linux and a C compiler. */
export async function settableClocks(
  folder: string,
): Promise<((name: string) => SettableClock) | undefined> {
  const compiler = findOnPath("gcc") ?? findOnPath("cc");
  if (process.platform !== "linux" || compiler === undefined) return undefined;
  const library = join(folder, "skew.so");
  const args = ["-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"];
  await promisify(execFile)(compiler, args);
  return (name) => {
    const path = join(folder, `${name}.skew`);
    const set = (offsetMs: number): void => {
      const bytes = Buffer.alloc(8);
      // Every machine that runs this is little-endian, or it would be writeBigInt64BE.
      bytes.writeBigInt64LE(BigInt(Math.round(offsetMs)));
      const file = openSync(path, "r+");
      writeSync(file, bytes, 0, bytes.length, 0);
      closeSync(file);
    };
    writeFileSync(path, Buffer.alloc(8));
    return { env: { LD_PRELOAD: library, SKEW_FILE: path }, set };
  };
}
