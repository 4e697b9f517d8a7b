/** The store of the environment, for the time of one command. */
import type { Environment } from "../../stores/from-env/environment.js";
import { openStore, type OpenStore } from "../../stores/from-env/open.js";
import { UsageError } from "./command.js";

/** For commands that look for what services stored: nobody can look into the memory of another process. */
export async function withSharedStore<T>(
  environment: Environment,
  use: (opened: OpenStore, unreachable: readonly string[]) => Promise<T>,
): Promise<T> {
  if (environment.target.kind === "memory") {
    throw new UsageError(
      "A memory store is its process's own, and nobody else can look into it: choose another IDEMPOTENCY_STORE.",
    );
  }
  return await withStore(environment, use);
}

/** `use` is told as well why nodes cannot be reached; a store may do without some. */
export async function withStore<T>(
  environment: Environment,
  use: (opened: OpenStore, unreachable: readonly string[]) => Promise<T>,
): Promise<T> {
  // What the servers promise is the doctor's to tell.
  const opened = await openStore(environment, () => undefined);
  try {
    // Commands fail while a connection is on its way.
    return await use(opened, await opened.unreachable());
  } finally {
    await opened.store.close();
  }
}
