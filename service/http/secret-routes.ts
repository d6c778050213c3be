// The operations on secrets. None tells a value.
import { z } from 'zod';
import { secretValueSchema } from '../secret.js';
import { type Route, route } from './route.js';

const secretSchema = z.object({
  name: z.string(),
  created: z.iso.datetime(),
  updated: z.iso.datetime().describe('Since it has its value'),
});

export const SECRET_ROUTES: readonly Route[] = [
  route({
    method: 'GET',
    path: '/v1/secrets',
    operation: 'listSecrets',
    scope: 'read',
    summary: 'Lists the names of secrets.',
    status: 200,
    answer: z.object({ secrets: z.array(secretSchema) }),
    problems: [],
    handle: async ({ secrets, tenant }) => ({ secrets: secrets.list(tenant.name) }),
  }),
  route({
    method: 'PUT',
    path: '/v1/secrets/{id}',
    operation: 'setSecret',
    scope: 'admin',
    summary: 'Gives the secret of this name a value, which is never told again. Jobs and sandboxes that start get it.',
    body: secretValueSchema,
    status: 200,
    answer: secretSchema,
    problems: ['quota'],
    handle: async ({ secrets, tenant, id }, { body }) => secrets.set(tenant.name, id, body.value),
  }),
  route({
    method: 'DELETE',
    path: '/v1/secrets/{id}',
    operation: 'removeSecret',
    scope: 'admin',
    summary: 'Removes the secret of this name. What runs with it keeps it.',
    status: 204,
    problems: ['not-found'],
    handle: async ({ secrets, tenant, id }) => {
      secrets.remove(tenant.name, id);
      return undefined;
    },
  }),
];
