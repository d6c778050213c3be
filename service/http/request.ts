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
