/**
 * The least that a middleware can do: claim, run, store, send; or read and send. No fingerprint, no lease to renew, no
 * limit, no check; the answer is known to be one `writeHead` and one `end`.
 *
 * @param claim Resolves to what is stored under the key, or to nothing where it was claimed.
 * @param store Keeps the body.
 */
export function floor(claim, store, handler) {
  return async (req, res) => {
    const key = req.headers["idempotency-key"];
    const found = await claim(key);
    if (found) {
      res.writeHead(201, { "Content-Type": "application/json" }).end(found);
      return;
    }
    const end = res.end.bind(res);
    res.end = (body) => {
      store(key, body).then(
        () => end(body),
        () => res.destroy(),
      );
    };
    handler(req, res);
  };
}
