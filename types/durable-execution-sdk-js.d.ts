/** Of a package that the types of @middy/core name without bringing it: nothing here runs in its durable mode. */
declare module "@aws/durable-execution-sdk-js" {
  export type DurableContext = never;
}
