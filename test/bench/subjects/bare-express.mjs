/** Express without idempotency. */
import express from "express";
import { handleExpress, serve } from "./subject.mjs";

serve(express().use(express.json()).post("/:size", handleExpress));
