// Secrets of tenants: how requests name them. Their values are in no record of a job or sandbox.
import { z } from 'zod';

/** The most secrets of a tenant, and of a job or sandbox. */
export const MAX_SECRETS = 100;
const MAX_USED = 16;
/** Bytes of a value. */
export const MAX_VALUE = 65_536;
const FOLDER = '/run/secrets/';

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

const useSchema = z.union([
  z.strictObject({
    name: secretNameSchema,
    env: z
      .string()
      .regex(/^[A-Za-z_]\w{0,255}$/, { error: 'letters, digits and _ are needed, and no digit first' })
      .describe('A variable, whatever else has its name'),
  }),
  z.strictObject({
    name: secretNameSchema,
    file: z
      .string()
      .regex(/^\/run\/secrets\/(?!\.\.?$)[\w.-]{1,255}$/, { error: 'a file of /run/secrets is needed' })
      .describe("A file in the machine's memory, for each user to read: /run/secrets/x"),
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
}

/** @param read throws if there is no such secret */
export function joinSecrets(uses: readonly SecretUse[], read: (name: string) => string): JoinedSecrets {
  const joined: JoinedSecrets = { env: {}, files: {} };
  for (const use of uses) {
    if ('env' in use) joined.env[use.env] = read(use.name);
    else joined.files[use.file.slice(FOLDER.length)] = read(use.name);
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
