/** What the runtime of a Lambda function does: asks for invocations, one at a time, and posts what the handler returned. */
import { Agent, request } from "node:http";
import { buffer } from "node:stream/consumers";

const { AWS_LAMBDA_RUNTIME_API, LAMBDA_TASK_ROOT, _HANDLER } = process.env;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const url = `http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/${path}`;
    request(url, { method, agent })
      .once("error", reject)
      .once("response", (reply) => {
        const answered = (bytes) => resolve({ headers: reply.headers, bytes });
        buffer(reply).then(answered, reject);
      })
      .end(body);
  });
}

const [, file, name] = /^(.*)\.(\w+)$/.exec(_HANDLER);
const handler = (await import(`${LAMBDA_TASK_ROOT}/${file}.mjs`))[name];
console.log("initialised");

for (;;) {
  const { headers, bytes } = await call("GET", "invocation/next");
  const awsRequestId = headers["lambda-runtime-aws-request-id"];
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  const context = { awsRequestId, getRemainingTimeInMillis: () => deadline - Date.now() };
  try {
    const result = await handler(JSON.parse(bytes), context);
    await call("POST", `invocation/${awsRequestId}/response`, JSON.stringify(result));
  } catch ({ name: errorType, message: errorMessage }) {
    const error = JSON.stringify({ errorType, errorMessage });
    await call("POST", `invocation/${awsRequestId}/error`, error);
  }
}
