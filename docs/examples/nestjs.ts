/** NestJS on Express: a middleware of the module, for the routes that charge. Compiled with `experimentalDecorators`. */
import { randomUUID } from "node:crypto";
import { Body, Controller, Module, Post, type MiddlewareConsumer } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { idempotency } from "idempotency-kit";
import { memoryStore } from "idempotency-kit/memory";

@Controller("payments")
class Payments {
  @Post()
  pay(@Body() order: object) {
    return { id: randomUUID(), ...order }; // here the card is charged
  }
}

@Module({ controllers: [Payments] })
class Shop {
  readonly safe = idempotency(memoryStore(), { required: true });

  configure(consumer: MiddlewareConsumer) {
    consumer.apply(this.safe).forRoutes(Payments);
  }
}

const app = await NestFactory.create(Shop);
await app.listen(3000);
