/** Drivers are loaded when their store is chosen, and only then. */
import { mistaken } from "./environment.js";
import { STORE_VARIABLE } from "./variables.js";

/** What to install for a driver that is missing; versions as in the package's optional peers. */
export const DRIVERS: Readonly<Record<string, string>> = {
  ioredis: "6",
  redlock: "5.0.0-beta.2",
  "@aws-sdk/client-dynamodb": "3",
};

/**
 * @param load Imports a store.
 * @throws {OptionsError} that names the package to install where that is all that is missing.
 */
export async function withDriver<T>(kind: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (error) {
    const driver = missing(error);
    if (driver === undefined) throw error;
    const install = `npm install ${driver}@${DRIVERS[driver]}`;
    throw mistaken([`${STORE_VARIABLE} is ${kind}, whose driver is not installed: ${install}`]);
  }
}

/** Node has no field for the package that it did not find. */
function missing(error: unknown): string | undefined {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code !== "ERR_MODULE_NOT_FOUND" && code !== "MODULE_NOT_FOUND") return undefined;
  return Object.keys(DRIVERS).find((name) => message.includes(`'${name}'`));
}
