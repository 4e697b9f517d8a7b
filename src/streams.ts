/** Reading web streams, where a limit ends it. */

/** The chunks of a stream, or nothing where it is longer than `maxBytes`; it is not read any further then. */
export async function readUpTo(
  maxBytes: number,
  stream: ReadableStream<Uint8Array>,
): Promise<Uint8Array[] | undefined> {
  const reader = stream.getReader();
  const chunks: Uint8Array[] = [];
  for (let length = 0; length <= maxBytes;) {
    const { done, value } = await reader.read();
    if (done) return chunks;
    chunks.push(value);
    length += value.byteLength;
  }
  // Not awaited: a copy is only given up when its original is, too.
  reader.cancel().catch(() => undefined);
  return undefined;
}
