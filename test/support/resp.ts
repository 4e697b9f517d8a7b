/** As much of RESP2 and RESP3 as it takes to tell where one command or one reply ends. */

/** Splits a stream into top-level values; bytes of an unfinished one wait for the rest. */
export class RespReader {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Buffer[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const values: Buffer[] = [];
    let start = 0;
    for (let end = endOfValue(bytes, 0); end !== undefined; end = endOfValue(bytes, start)) {
      values.push(bytes.subarray(start, end));
      start = end;
    }
    this.#rest = bytes.subarray(start);
    return values;
  }
}

/** `SET` of `*3\r\n$3\r\nset\r\n…`. */
export function commandName(command: Buffer): string {
  const words = command.subarray(0, 64).toString("latin1").split("\r\n");
  return (words[2] ?? "").toUpperCase();
}

/** Out of band: a RESP3 push answers no command. */
export function isPush(value: Buffer): boolean {
  return value[0] === ">".charCodeAt(0);
}

/** Where the value that begins at `start` ends; `undefined` while it is incomplete. */
function endOfValue(bytes: Buffer, start: number): number | undefined {
  let at = start;
  // Aggregates add their elements to what is still to be read.
  for (let left = 1; left > 0; left -= 1) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd === -1) return undefined;
    const type = String.fromCharCode(bytes[at] ?? 0);
    const size = Number(bytes.toString("latin1", at + 1, lineEnd));
    at = lineEnd + 2;
    if (isBlob(type) && size >= 0) at += size + 2;
    left += elementsOf(type, size);
    if (at > bytes.length) return undefined;
  }
  return at;
}

function isBlob(type: string): boolean {
  return type === "$" || type === "=" || type === "!";
}

function elementsOf(type: string, size: number): number {
  if (type === "*" || type === "~" || type === ">") return Math.max(size, 0);
  if (type === "%") return 2 * size;
  // An attribute comes before the value that it describes.
  return type === "|" ? 2 * size + 1 : 0;
}
