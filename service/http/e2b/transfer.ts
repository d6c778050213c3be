// `/files` of E2B's daemon: files go in and out of a sandbox, one as it is or several as a form.
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { Context } from 'hono';
import { z } from 'zod';
import { ServiceError } from '../../errors.js';
import type { Files, FilesCall } from '../../sandboxes/files.js';
import type { Places } from '../../sandboxes/places.js';
import type { Shared } from '../audit.js';
import { endStalled } from '../event-stream.js';
import { PROBLEMS, retryHeaders } from '../problem.js';
import { bounded, parse } from '../request.js';
import { pathSchema } from './filesystem.js';

/** Bytes of a form, which is in memory. */
const MAX_FORM = 8 * 2 ** 20;
const MAX_FILES = 100;
/** Bytes of a file that comes as it is. */
const MAX_FILE = 2 ** 30;

export const userSchema = z
  .string()
  .min(1)
  .max(256)
  .refine((user) => !/[:\0]/.test(user), { error: 'a name of a user is needed' });
const querySchema = z.object({ path: pathSchema.optional(), username: userSchema.optional() });

/**
 * Reads a file.
 * @param stall milliseconds in which the caller takes no byte until its connection ends
 * @throws ServiceError
 */
export async function download(
  context: Context<Shared>,
  files: Files,
  call: FilesCall,
  stall: number,
): Promise<Response> {
  const { path, username: user } = parse(querySchema, context.req.query(), 'query');
  const contents = await files.read({ ...call, user }, wanted(path));
  endStalled(context.env, stall);
  const headers = { 'Content-Type': 'application/octet-stream', 'Cache-Control': 'no-store' };
  return new Response(Readable.toWeb(contents) as ReadableStream, { headers });
}

/** Writes files. @throws ServiceError */
export async function upload(
  context: Context<Shared>,
  files: Files,
  places: Places,
  call: FilesCall,
): Promise<Response> {
  const { path, username: user } = parse(querySchema, context.req.query(), 'query');
  const own = { ...call, user };
  const type = context.req.header('Content-Type') ?? '';
  const data = bodyOf(context);
  const written: object[] = [];
  const write = async (where: string, contents: Readable) => {
    const entry = await files.write(own, where, contents);
    written.push({ name: entry.name, type: 'file', path: entry.path });
  };
  if (/^application\/octet-stream\s*(;|$)/i.test(type)) await write(wanted(path), data);
  else if (/^multipart\/form-data\s*;/i.test(type)) {
    for (const file of await filesOf(type, data, places, call)) {
      const where = path ?? parse(pathSchema, file.name, 'the name of a file');
      await write(where, Readable.from([Buffer.from(await file.arrayBuffer())]));
    }
  } else throw new ServiceError('bad-request', 'application/octet-stream or multipart/form-data is needed');
  return context.json(written);
}

/** What the client makes of an error. */
export function failed(error: ServiceError): Response {
  const [usual] = PROBLEMS[error.code];
  const status = error.code === 'no-file' ? 404 : usual;
  return Response.json({ code: status, message: error.message }, { status, headers: retryHeaders(error) });
}

function wanted(path: string | undefined): string {
  if (path === undefined) throw new ServiceError('bad-request', 'query.path: a path is needed');
  return path;
}

function bodyOf({ req }: Context<Shared>): Readable {
  const encoding = req.header('Content-Encoding');
  if (encoding === undefined) return Readable.from(bounded(req.raw.body, MAX_FILE));
  if (encoding !== 'gzip') throw new ServiceError('bad-request', 'Content-Encoding: gzip alone is taken');
  const packed = Readable.from(bounded(req.raw.body, MAX_FILE));
  const gunzip = createGunzip();
  packed.once('error', (error) => gunzip.destroy(error));
  return Readable.from(unpacked(packed.pipe(gunzip)));
}

async function* unpacked(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let size = 0;
  try {
    for await (const chunk of stream) {
      size += chunk.length;
      if (size > MAX_FILE) throw new ServiceError('too-large', `the file has more than ${MAX_FILE} bytes`);
      yield chunk;
    }
  } catch (cause) {
    if (cause instanceof ServiceError) throw cause;
    throw new ServiceError('bad-request', 'body: not gzip', { cause });
  }
}

async function filesOf(type: string, data: Readable, places: Places, call: FilesCall): Promise<File[]> {
  // It is in memory.
  using _place = places.take(call.tenant);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of data as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_FORM) {
      throw new ServiceError('too-large', `a form has at most ${MAX_FORM} bytes: larger files come as a stream`);
    }
    chunks.push(chunk);
  }
  let found: File[];
  try {
    const form = await new Response(Buffer.concat(chunks), { headers: { 'Content-Type': type } }).formData();
    found = [...form.values()].filter((value) => value instanceof File);
  } catch (cause) {
    throw new ServiceError('bad-request', 'body: not a form', { cause });
  }
  if (found.length === 0 || found.length > MAX_FILES) {
    throw new ServiceError('bad-request', `body: 1 to ${MAX_FILES} files are needed`);
  }
  return found;
}
