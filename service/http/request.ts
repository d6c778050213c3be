// Reading a request: its body as JSON, and checks by a schema.
import type { Context } from 'hono';
import type { z } from 'zod';
import { ServiceError } from '../errors.js';

/** @throws ServiceError `not-json`, `bad-request` */
export async function readJson({ req }: Pick<Context, 'req'>): Promise<unknown> {
  const type = req.header('Content-Type') ?? '';
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new ServiceError('not-json', 'the Content-Type application/json is needed');
  }
  return parseJson(await req.text());
}

/** @throws ServiceError `bad-request` */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ServiceError('bad-request', 'body: not JSON', { cause });
  }
}

/**
 * What a schema makes of a value.
 * @param what the part of the request, for messages
 * @throws ServiceError `bad-request`
 */
export function parse<Schema extends z.ZodType>(schema: Schema, value: unknown, what: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = [what, ...(issue?.path ?? []).map(String)].join('.').slice(0, 200);
  throw new ServiceError('bad-request', `${path}: ${issue?.message.slice(0, 500)}`);
}

/**
 * A body as it arrives.
 * @param max bytes
 * @throws ServiceError `too-large`, `bad-request` if it breaks off
 */
export async function* bounded(body: ReadableStream<Uint8Array> | null, max: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  try {
    for await (const chunk of body ?? []) {
      size += chunk.length;
      if (size > max) throw new ServiceError('too-large', `the body has more than ${max} bytes`);
      yield chunk;
    }
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause;
    throw new ServiceError('bad-request', 'the request broke off', { cause });
  }
}
