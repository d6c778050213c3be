// The API's document, OpenAPI 3.1, made of the routes.
import { z } from 'zod';
import type { ServiceErrorCode } from '../errors.js';
import { EXEC_PROTOCOL } from './exec-channels.js';
import { PROBLEMS, problemSchema } from './problem.js';
import { DEFAULT_SCOPE, type Route } from './route.js';
import { ROUTES } from './routes.js';

const JSON_TYPE = 'application/json';
/** What streams are. */
export const ARCHIVE_TYPE = 'application/x-tar';
export const LINES_TYPE = 'application/x-ndjson';
export const EVENTS_TYPE = 'text/event-stream';
const ARCHIVE = { content: { [ARCHIVE_TYPE]: { schema: {} } } };
/** Problems of each operation. */
const ALWAYS: readonly ServiceErrorCode[] = ['unauthorized', 'forbidden', 'rate', 'bad-request', 'internal'];
const WITH_BODY: readonly ServiceErrorCode[] = ['too-large', 'not-json'];

export function openApiDocument(): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of ROUTES) {
    const operations = paths[route.path] ?? {};
    operations[route.method.toLowerCase()] = describeRoute(route);
    paths[route.path] = operations;
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'tsvm serve',
      version: '1',
      description: 'Sandboxes and jobs of tenants, each a container in a machine of its own.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ key: [] }],
    paths,
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'tsvm tenant key prints one' } },
      schemas: { Problem: schemaOf(problemSchema, 'output') },
    },
  };
}

function describeRoute(route: Route): object {
  const { operation, summary, status, socket, scope = DEFAULT_SCOPE } = route;
  const result = resultOf(route);
  return {
    operationId: operation,
    summary,
    description: `The key needs the scope \`${scope}\` or more.`,
    parameters: parametersOf(route),
    ...bodyOf(route),
    responses: {
      [status]: { description: descriptionOf(status, result), ...result },
      ...problemsOf(route),
    },
    ...(socket === undefined
      ? {}
      : {
          'x-websocket': {
            protocol: EXEC_PROTOCOL,
            first: schemaOf(socket.first, 'input'),
            last: { anyOf: [schemaOf(socket.last, 'output'), { $ref: '#/components/schemas/Problem' }] },
          },
        }),
  };
}

function descriptionOf(status: number, result: object | undefined): string {
  if (status === 101) return 'The connection is a WebSocket, see `x-websocket`';
  return result === undefined ? 'Done' : 'The result';
}

function resultOf({ answer, archive, lines, events }: Route): object | undefined {
  if (events !== undefined) {
    const data = Object.values(events).map((schema) => schemaOf(schema, 'output'));
    return { content: { [EVENTS_TYPE]: { schema: { anyOf: data } } } };
  }
  if (archive === 'answer') return ARCHIVE;
  if (lines !== undefined) return { content: { [LINES_TYPE]: { schema: schemaOf(lines, 'output') } } };
  return answer === undefined ? undefined : { content: { [JSON_TYPE]: { schema: schemaOf(answer, 'output') } } };
}

function bodyOf({ body, archive }: Route): object {
  if (archive === 'request') return { requestBody: { required: true, ...ARCHIVE } };
  if (body === undefined) return {};
  return { requestBody: { required: true, content: { [JSON_TYPE]: { schema: schemaOf(body, 'input') } } } };
}

function parametersOf({ path, query, events, isIdempotent = false }: Route): object[] {
  const parameters: object[] = [];
  if (path.includes('{id}')) {
    parameters.push({ name: 'id', in: 'path', required: true, schema: { type: 'string' } });
  }
  if (isIdempotent) {
    const description = 'A second request with the same key returns what became of the first';
    parameters.push({ name: 'Idempotency-Key', in: 'header', description, schema: { type: 'string', maxLength: 255 } });
  }
  if (events !== undefined) {
    const description = 'The ID of the last event that arrived: it goes on after it, whatever `from` says';
    parameters.push({ name: 'Last-Event-ID', in: 'header', description, schema: { type: 'string' } });
  }
  const { properties = {}, required = [] } = query === undefined ? {} : schemaOf(query, 'input');
  for (const [name, schema] of Object.entries(properties)) {
    parameters.push({ name, in: 'query', required: required.includes(name), schema });
  }
  return parameters;
}

/** One answer for each status: several codes may share it. */
function problemsOf({ body, problems }: Route): Record<string, object> {
  const codes = [...ALWAYS, ...(body === undefined ? [] : WITH_BODY), ...problems];
  const answers: Record<string, object> = {};
  for (const status of new Set(codes.map((code) => PROBLEMS[code][0]))) {
    const words = codes.filter((code) => PROBLEMS[code][0] === status);
    answers[status] = {
      description: words.map((code) => `\`${code}\`: ${PROBLEMS[code][1]}`).join('; '),
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
    };
  }
  return answers;
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): z.core.JSONSchema.BaseSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io });
  return rest;
}
