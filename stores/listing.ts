/**
 * What stands in a store, page by page. For operators: a listing reads a whole table or keyspace, so it is no part of
 * the store's contract, and nothing that serves requests needs it.
 */

/** What stands under one key. Its body stays where it is: none is read. */
export interface Listed {
  /** As stores and events have it: the hash of a client's key. */
  readonly key: string;
  /** `unknown`: something that the kit did not write. */
  readonly state: "held" | "completed" | "unknown";
  /** When the lease or the record ends, in epoch milliseconds; absent where that is not known. */
  readonly endsAt?: number;
  /** Completed: how large the record is, in bytes, headers included. */
  readonly bytes?: number;
  /** Completed, at Redis: the response's. */
  readonly statusCode?: number;
  /** Completed, at Redis: when the response was made, in epoch milliseconds. */
  readonly storedAt?: number;
  /** On a quorum: how many nodes hold just this; less than a majority answers nobody. */
  readonly nodes?: number;
}

export interface ListRequest {
  /** How many keys to list, or some more; fewer at the end, and where `limitMs` is over. */
  readonly limit: number;
  /** Nothing more is read after this time, in milliseconds. */
  readonly limitMs: number;
  /** Of the page before. */
  readonly cursor: string | undefined;
}

export interface ListPage {
  readonly keys: readonly Listed[];
  /** Where the next page begins; absent on the last one. */
  readonly cursor?: string;
}
