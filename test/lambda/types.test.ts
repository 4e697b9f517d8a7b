/** The public types beside those of @types/aws-lambda: what users have annotated fits. Checked by the compiler. */
import type {
  ALBEvent,
  ALBHandler,
  ALBResult,
  APIGatewayProxyEvent,
  APIGatewayProxyEventV2,
  APIGatewayProxyHandler,
  APIGatewayProxyHandlerV2,
  APIGatewayProxyResult,
  APIGatewayProxyStructuredResultV2,
  Context,
  EventBridgeEvent,
  LambdaFunctionURLHandler,
  SQSBatchResponse,
  SQSEvent,
  SQSRecord,
} from "aws-lambda";
import { expectTypeOf, test } from "vitest";
import {
  idempotentBatch,
  idempotentFunction,
  idempotentHandler,
  type HttpEvent,
  type IdempotencyContext,
  type IdempotentContext,
  type LambdaAnswer,
  type LambdaContext,
  type SqsEvent,
  type SqsRecord,
} from "../../src/lambda.js";
import { memoryStore } from "../../stores/memory.js";

const store = memoryStore();

test("events and contexts of AWS are ours", () => {
  expectTypeOf<APIGatewayProxyEvent>().toExtend<HttpEvent>();
  expectTypeOf<APIGatewayProxyEventV2>().toExtend<HttpEvent>();
  expectTypeOf<ALBEvent>().toExtend<HttpEvent>();
  expectTypeOf<SQSEvent>().not.toExtend<HttpEvent>();
  expectTypeOf<Context>().toExtend<LambdaContext>();
  expectTypeOf<SQSRecord>().toExtend<SqsRecord>();
  expectTypeOf<SQSEvent>().toExtend<SqsEvent>();
});

test("our answers are AWS's results", () => {
  expectTypeOf<LambdaAnswer>().toExtend<APIGatewayProxyResult>();
  expectTypeOf<LambdaAnswer>().toExtend<APIGatewayProxyStructuredResultV2>();
  expectTypeOf<LambdaAnswer>().toExtend<ALBResult>();
});

test("handlers annotated with AWS's types fit, and so does what comes of them", () => {
  const rest: APIGatewayProxyHandler = async () => ({ statusCode: 200, body: "" });
  const http: APIGatewayProxyHandlerV2 = async (event) => event.rawPath;
  const url: LambdaFunctionURLHandler = async () => ({ statusCode: 200 });
  const alb: ALBHandler = async () => ({ statusCode: 200 });
  const handlers = [
    idempotentHandler(rest, store),
    idempotentHandler(http, store),
    idempotentHandler(url, store),
    idempotentHandler(alb, store),
  ] as const;
  expectTypeOf(handlers[0]).parameters.toEqualTypeOf<[APIGatewayProxyEvent, Context]>();
  expectTypeOf(handlers[1]).parameters.toEqualTypeOf<[APIGatewayProxyEventV2, Context]>();
  expectTypeOf(handlers[3]).parameters.toEqualTypeOf<[ALBEvent, Context]>();

  const plain = async (_event: APIGatewayProxyEventV2, _context: Context) => ({ statusCode: 200 });
  const made: APIGatewayProxyHandlerV2 = idempotentHandler(plain, store);
  expectTypeOf(made).toBeFunction();
});

test("a handler's own event reaches the options, and its context has the key", () => {
  const handler = idempotentHandler(
    async (event: APIGatewayProxyEvent, context: Context & IdempotentContext) => {
      expectTypeOf(context.idempotency).toEqualTypeOf<IdempotencyContext | undefined>();
      return { statusCode: 200, body: event.path };
    },
    store,
    { scope: (event) => event.requestContext.accountId },
  );
  expectTypeOf(handler).parameter(0).toEqualTypeOf<APIGatewayProxyEvent>();
});

test("functions keep their arguments and results", () => {
  const ship = idempotentFunction(
    async (event: EventBridgeEvent<"paid", { id: string }>) => ({ shipped: event.detail.id }),
    store,
    { name: "ship", key: (event) => event.detail.id },
  );
  expectTypeOf(ship).parameters.toEqualTypeOf<[EventBridgeEvent<"paid", { id: string }>]>();
  expectTypeOf(ship).returns.resolves.toEqualTypeOf<{ shipped: string }>();
});

test("batches take AWS's records and answer as AWS wants", () => {
  const consume = idempotentBatch(
    async (record: SQSRecord, context: Context) => [record.md5OfBody, context.awsRequestId],
    store,
    { name: "charge", key: (record) => record.attributes.MessageDeduplicationId },
  );
  expectTypeOf<SQSEvent>().toExtend<Parameters<typeof consume>[0]>();
  expectTypeOf(consume).returns.resolves.toExtend<SQSBatchResponse>();
});
