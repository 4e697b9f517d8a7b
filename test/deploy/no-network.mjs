/** Preloaded into a process: it reaches nothing but this machine, and fails where it tries. */
import { Socket } from "node:net";

const HERE = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/;
const connect = Reflect.get(Socket.prototype, "connect");

Socket.prototype.connect = function connectHere(...args) {
  const [options] = Array.isArray(args[0]) ? args[0] : args;
  const host = options?.host ?? "localhost";
  if (options?.path === undefined && !HERE.test(host)) {
    console.error(`It wanted to reach ${host}.`);
    process.exit(70);
  }
  return Reflect.apply(connect, this, args);
};
