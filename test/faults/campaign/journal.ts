/** What a server process writes down, as it happens, into a file of its own: a line that is written survives any death. */
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";

export type JournalEntry =
  /** A claim was granted; `at` is when it was sent. */
  | { readonly type: "claimed"; readonly at: number; readonly key: string; readonly token: string }
  /** A renewal was granted; `at` is when it was sent. */
  | { readonly type: "renewed"; readonly at: number; readonly token: string }
  /** The store said that it has the record. */
  | { readonly type: "stored"; readonly at: number; readonly token: string }
  | {
      readonly type: "executes";
      readonly at: number;
      readonly key: string;
      readonly token: string;
      readonly request: string;
      readonly variant: string;
    }
  | {
      readonly type: "executed";
      readonly at: number;
      readonly token: string;
      readonly end: "returned" | "threw";
      readonly answer?: string;
      /** To be kept, and never to be made twice. */
      readonly isResult: boolean;
    }
  /** One of the kit's. */
  | {
      readonly type: "event";
      readonly at: number;
      readonly key: string;
      readonly event: string;
      readonly reason?: string;
    }
  /** A live record had to go, as the memory store reports it. */
  | { readonly type: "evicted"; readonly at: number; readonly key: string }
  /** A fault at a stage of a request: the process ends here, or stands still for some time. */
  | { readonly type: "dies"; readonly at: number; readonly stage: string }
  | {
      readonly type: "freezes";
      readonly at: number;
      readonly stage: string;
      readonly forMs: number;
    };

export type Journal = (entry: JournalEntry) => void;

/** Synchronous: an entry is with the kernel before whatever comes next. */
export function openJournal(path: string): Journal {
  const file = openSync(path, "a");
  process.once("exit", () => closeSync(file));
  return (entry) => {
    writeSync(file, `${JSON.stringify(entry)}\n`);
  };
}

export function readJournal(path: string): JournalEntry[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as JournalEntry);
}
