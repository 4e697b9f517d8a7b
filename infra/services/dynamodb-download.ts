/**
 * DynamoDB Local, Amazon's own engine, fetched at run time and kept in `node_modules/.cache`. Its licence allows
 * internal use and no redistribution, so it is neither committed nor shipped, and no dependency brings it.
 */
import { fromNpm } from "./from-npm.js";

/** The folder with `DynamoDBLocal.jar`, version 1.25.1, downloaded if this is the first time. */
export async function dynamodbLocal(): Promise<string> {
  return await fromNpm({
    title: "DynamoDB Local, 56 MB",
    spec: "amplify-dynamodb-simulator@2.9.30",
    sha512:
      "xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ==",
    path: "emulator",
  });
}
