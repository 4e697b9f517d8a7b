/** `idempotency-kit/lambda`: the front doors of AWS Lambda. */
export type { LambdaAnswer } from "./lambda/answer.js";
export { idempotentBatch } from "./lambda/batch.js";
export type {
  BatchOptions,
  GivenBatchOptions,
  SqsBatchResponse,
  SqsEvent,
  SqsRecord,
} from "./lambda/batch-door.js";
export type { IdempotencyContext, IdempotentContext, LambdaContext } from "./lambda/context.js";
export { idempotent } from "./lambda/decorator.js";
export type { LambdaOptions } from "./lambda/door.js";
export type { HttpEvent } from "./lambda/event.js";
export { idempotentFunction } from "./lambda/function.js";
export type { FunctionOptions, GivenFunctionOptions } from "./lambda/function-door.js";
export { idempotentHandler } from "./lambda/handler.js";
