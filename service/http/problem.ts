// Errors as answers: RFC 9457, problem details.
import { z } from 'zod';
import { ServiceError, type ServiceErrorCode } from '../errors.js';

/** The status and the title of each code. */
export const PROBLEMS: Readonly<Record<ServiceErrorCode, readonly [status: number, title: string]>> = {
  'bad-request': [400, 'The request is wrong'],
  'no-image': [400, 'There is no such image'],
  'no-secret': [400, 'There is no such secret'],
  'no-command': [400, 'There is no such command'],
  'no-file': [400, 'There is no such file'],
  files: [400, 'The files cannot be read or written'],
  unauthorized: [401, 'The key is missing or wrong'],
  forbidden: [403, 'The key does not allow it'],
  'not-found': [404, 'There is no such thing'],
  conflict: [409, 'The state does not allow it'],
  'not-running': [409, 'The sandbox is not running'],
  'too-large': [413, 'The body is too large'],
  'not-json': [415, 'The body is not JSON'],
  quota: [429, 'The share is used up'],
  rate: [429, 'Too many requests'],
  internal: [500, 'The server failed'],
  'no-port': [502, 'The port does not answer'],
  'no-room': [503, 'The host is full'],
  unresponsive: [504, 'The sandbox does not answer'],
};

/** Seconds after which a request may succeed. */
const RETRY_AFTER: Partial<Record<ServiceErrorCode, number>> = { quota: 5, 'no-room': 5 };

export const problemSchema = z.object({
  type: z.literal('about:blank'),
  title: z.string(),
  status: z.int(),
  detail: z.string().describe('One line, for people'),
  code: z.enum(Object.keys(PROBLEMS)).describe('The kind of the error, for programs'),
});

/** When a request that failed may be repeated. */
export function retryHeaders({ code, retryAfter = RETRY_AFTER[code] }: ServiceError): Record<string, string> {
  return retryAfter === undefined ? {} : { 'Retry-After': String(retryAfter) };
}

export function problemBody({ code, message: detail }: ServiceError): z.output<typeof problemSchema> {
  const [status, title] = PROBLEMS[code];
  return { type: 'about:blank', title, status, detail, code };
}

/** The answer to a request that failed. */
export function problemOf(error: ServiceError): Response {
  const body = problemBody(error);
  const headers: Record<string, string> = { 'Content-Type': 'application/problem+json', ...retryHeaders(error) };
  if (error.code === 'unauthorized') headers['WWW-Authenticate'] = 'Bearer';
  return new Response(JSON.stringify(body), { status: body.status, headers });
}

/** What is answered for an error that no code expects. It says nothing of the host. */
export function asServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  return new ServiceError('internal', 'internal error', { cause: error });
}
