/** The store of the environment, for the time of one command. */
import type { Environment } from "../../stores/from-env/environment.js";
import { openStore, type OpenStore } from "../../stores/from-env/open.js";

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
