// The methods of E2B's daemon: what each takes, and what it does.
import type { z } from 'zod';
import type { Tenant } from '../../records.js';

/** A request whose token is known. */
export interface EnvdCall {
  tenant: Tenant;
  /** The sandbox's ID. */
  id: string;
  /** Who the caller wants to be in the sandbox. Absent: the image's user. */
  user: string | undefined;
  /** Milliseconds that the caller gives to what it starts. */
  timeout: number | undefined;
  /** Aborted when the caller is gone. */
  signal: AbortSignal;
}

export type Method =
  | { kind: 'unary'; request: z.ZodType; handle(call: EnvdCall, request: unknown): Promise<object> }
  | { kind: 'streaming'; request: z.ZodType; handle(call: EnvdCall, request: unknown): AsyncGenerator<object> };

/** A method with one answer. */
export function unary<Schema extends z.ZodType>(
  request: Schema,
  handle: (call: EnvdCall, request: z.output<Schema>) => Promise<object>,
): Method {
  return { kind: 'unary', request, handle: (call, value) => handle(call, value as z.output<Schema>) };
}

/** A method whose answer is a stream of messages. */
export function streaming<Schema extends z.ZodType>(
  request: Schema,
  handle: (call: EnvdCall, request: z.output<Schema>) => AsyncGenerator<object>,
): Method {
  return { kind: 'streaming', request, handle: (call, value) => handle(call, value as z.output<Schema>) };
}
