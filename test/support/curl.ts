/** A curl line as `fetch` takes it: words are bare or in single quotes, as the demo and README.md print them. */
export function fetchArguments(line: string): [url: string, init: RequestInit] {
  const words = [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare);
  const url = words.find((word) => word?.startsWith("http"));
  const after = (flag: string) => words.filter((_, at) => words[at - 1] === flag);
  const headers = after("-H").map((field = "") => field.split(": ", 2) as [string, string]);
  const [body] = after("-d");
  return [String(url), body === undefined ? { headers } : { method: "POST", headers, body }];
}
