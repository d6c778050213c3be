// Secrets of tenants: how requests name them. Their values are in no record of a job or sandbox.
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { ServiceError } from './errors.js';

/** The most secrets of a tenant, and of a job or sandbox. */
export const MAX_SECRETS = 100;
const MAX_USED = 16;
/** Bytes of a value. */
export const MAX_VALUE = 65_536;
const FOLDER = '/run/secrets/';
const MAX_HOSTS = 16;
/** What a header may have. */
const HEADER_VALUE = /^[\x20-\x7e]{1,8192}$/;

export const secretNameSchema = z
  .string()
  .regex(/^[A-Za-z_][\w.-]{0,63}$/, { error: '1 to 64 letters, digits, _ . - are needed, a letter or _ first' });

export const secretValueSchema = z.strictObject({
  value: z
    .string()
    .min(1)
    .max(MAX_VALUE)
    .refine((text) => !text.includes('\0'), { error: 'a text without NUL characters is needed' })
    .describe(`At most ${MAX_VALUE} bytes of UTF-8. It is never told again.`),
});

const hostSchema = z
  .string()
  .regex(/^(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/, {
    error: 'the name of a host is needed, in lower case: api.example.com',
  });

const placeholderSchema = z
  .strictObject({
    hosts: z.array(hostSchema).min(1).max(MAX_HOSTS).describe('Whose requests get the value, over TLS on port 443'),
    headers: z
      .array(z.string().regex(/^[A-Za-z0-9-]{1,64}$/, { error: 'the name of a header is needed' }))
      .min(1)
      .max(MAX_HOSTS)
      .default(['Authorization', 'X-Api-Key'])
      .describe('In which it is put'),
    http: z.boolean().default(false).describe('True: requests without TLS on port 80 get it too'),
  })
  .optional()
  .describe('It gets a token in place of the value, which a proxy outside puts into headers of requests to hosts');

const useSchema = z.union([
  z.strictObject({
    name: secretNameSchema,
    env: z
      .string()
      .regex(/^[A-Za-z_]\w{0,255}$/, { error: 'letters, digits and _ are needed, and no digit first' })
      .describe('A variable, whatever else has its name'),
    placeholder: placeholderSchema,
  }),
  z.strictObject({
    name: secretNameSchema,
    file: z
      .string()
      .regex(/^\/run\/secrets\/(?!\.\.?$)[\w.-]{1,255}$/, { error: 'a file of /run/secrets is needed' })
      .describe("A file in the machine's memory, for each user to read: /run/secrets/x"),
    placeholder: placeholderSchema,
  }),
]);
export type SecretUse = z.output<typeof useSchema>;

const placeOf = (use: SecretUse): string => ('env' in use ? use.env : use.file);

/** What a job or a sandbox is to get. */
export const secretUsesSchema = z
  .array(useSchema)
  .max(MAX_USED)
  .refine((uses) => new Set(uses.map(placeOf)).size === uses.length, { error: 'two are for the same place' })
  .default([])
  .describe('Secrets of the tenant, which it gets as they are when it starts');

/** Values where they belong. */
export interface JoinedSecrets {
  /** By the names of variables. */
  env: Record<string, string>;
  /** By the names of files in /run/secrets. */
  files: Record<string, string>;
  /** What stands for values that are not in the machine. */
  placeholders: { token: string; value: string; hosts: string[]; headers: string[]; http: boolean }[];
}

/** @throws ServiceError `bad-request` for placeholders in a machine that reaches no host */
export function checkPlaceholders({ secrets, network }: { secrets: readonly SecretUse[]; network: string }): void {
  if (network !== 'none' || secrets.every(({ placeholder }) => placeholder === undefined)) return;
  throw new ServiceError('bad-request', 'placeholders of secrets need the network public');
}

/**
 * @param read throws if there is no such secret
 * @throws ServiceError `no-secret` for a value that no header may have
 */
export function joinSecrets(uses: readonly SecretUse[], read: (name: string) => string): JoinedSecrets {
  const joined: JoinedSecrets = { env: {}, files: {}, placeholders: [] };
  for (const use of uses) {
    const value = read(use.name);
    const shown = use.placeholder === undefined ? value : `tsvm-${randomBytes(24).toString('hex')}`;
    if (use.placeholder !== undefined) {
      if (!HEADER_VALUE.test(value)) {
        throw new ServiceError('no-secret', `the secret ${use.name} cannot stand in a header: is there a line break?`);
      }
      joined.placeholders.push({ token: shown, value, ...use.placeholder });
    }
    if ('env' in use) joined.env[use.env] = shown;
    else joined.files[use.file.slice(FOLDER.length)] = shown;
  }
  return joined;
}

/** What a tenant is told of a secret. */
export interface SecretRecord {
  name: string;
  /** RFC 3339. */
  created: string;
  /** Since it has its value. */
  updated: string;
}
