// The configuration of a bundle (OCI runtime specification 1.1, config.md): the parts that are used, and
// their bounds. An engine wrote it, with words of an image and of a user in it.
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../../errors/index.js';
import { OciError } from './oci-error.js';

/** Bytes. */
const MAX_CONFIG = 16 * 2 ** 20;

const id = z.int().min(0).max(0xffff_fffe);
const count = z.number().nonnegative();
const names = z.array(z.string()).optional();

const mount = z.object({
  destination: z.string(),
  type: z.string().optional(),
  source: z.string().optional(),
  options: names,
});

/** A process in a container. */
export const processSchema = z.object({
  terminal: z.boolean().optional(),
  consoleSize: z.object({ height: z.int().min(0).max(0xffff), width: z.int().min(0).max(0xffff) }).nullish(),
  user: z.object({
    uid: id,
    gid: id,
    umask: z.int().min(0).max(0o777).optional(),
    additionalGids: z.array(id).nullish(),
  }),
  args: z.array(z.string()).min(1),
  env: names,
  cwd: z.string().startsWith('/'),
  capabilities: z
    .object({ bounding: names, effective: names, permitted: names, inheritable: names, ambient: names })
    .nullish(),
  rlimits: z.array(z.object({ type: z.string(), soft: count, hard: count })).nullish(),
  noNewPrivileges: z.boolean().optional(),
});

const config = z.object({
  ociVersion: z.string().regex(/^1\.[0-9]+\.[0-9]+/, 'is not 1.x'),
  hostname: z.string().max(64).optional(),
  root: z.object({ path: z.string().min(1), readonly: z.boolean().optional() }),
  mounts: z.array(mount).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
  hooks: z.record(z.string(), z.array(z.unknown()).nullable()).nullish(),
  process: processSchema,
  linux: z.object({
    namespaces: z.array(z.object({ type: z.string(), path: z.string().optional() })).optional(),
    uidMappings: z.array(z.unknown()).nullish(),
    resources: z
      .object({
        memory: z.object({ limit: z.number().optional() }).nullish(),
        pids: z.object({ limit: z.number() }).nullish(),
        cpu: z.object({ quota: z.number().optional(), period: count.optional() }).nullish(),
      })
      .nullish(),
  }),
});

/** The configuration of a bundle. */
export type OciConfig = z.infer<typeof config>;
export type OciMount = z.infer<typeof mount>;

/**
 * Checks a configuration.
 * @param value what JSON.parse gave
 * @throws OciError that names the field
 */
export function parseConfig(value: unknown): OciConfig {
  const { data, error } = config.safeParse(value);
  if (data !== undefined) return data;
  const [issue] = error.issues;
  throw new OciError(`config.json: ${issue?.path.join('.')}: ${issue?.message}`);
}

/** Reads the configuration of the bundle at `path`. @throws OciError */
export function readConfig(path: string): OciConfig {
  let text: string;
  try {
    const file = openSync(join(path, 'config.json'), 'r');
    try {
      if (fstatSync(file).size > MAX_CONFIG) throw new Error('is larger than 16 MiB');
      text = readFileSync(file, 'utf8');
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw new OciError(`config.json: ${messageOf(cause)}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new OciError(`config.json: ${messageOf(cause)}`);
  }
  return parseConfig(value);
}
