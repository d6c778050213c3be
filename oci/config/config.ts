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

const paths = z.array(z.string().startsWith('/')).nullish();

const mount = z.object({
  destination: z.string().min(1),
  type: z.string().optional(),
  source: z.string().optional(),
  options: names,
  uidMappings: z.array(z.unknown()).max(0, 'is not supported').nullish(),
  gidMappings: z.array(z.unknown()).max(0, 'is not supported').nullish(),
});

/** Of a field whose effect a machine cannot give: absent. */
const unsupported = z.null('is not supported').optional();

function hasDistinctTypes(items: readonly { type: string }[]): boolean {
  return new Set(items.map(({ type }) => type)).size === items.length;
}

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
  rlimits: z
    .array(
      z.object({ type: z.string(), soft: count, hard: count }).refine(({ soft, hard }) => soft <= hard, {
        error: 'the soft limit is above the hard limit',
      }),
    )
    .refine(hasDistinctTypes, 'a type is given twice')
    .nullish(),
  noNewPrivileges: z.boolean().optional(),
  ioPriority: unsupported,
  scheduler: unsupported,
  execCPUAffinity: unsupported,
});

const text = z.string().regex(/^[^\0]*$/, 'has a NUL');

const hooks = z
  .array(
    z.object({
      path: text.startsWith('/'),
      args: z.array(text).nullish(),
      env: z.array(text).nullish(),
      /** Seconds. */
      timeout: z.int().positive().nullish(),
    }),
  )
  .nullish();

export const resourcesSchema = z.object({
  memory: z.object({ limit: z.number().optional(), disableOOMKiller: z.boolean().optional() }).nullish(),
  pids: z.object({ limit: z.number() }).nullish(),
  cpu: z
    .object({
      quota: z.number().optional(),
      period: count.optional(),
      cpus: z.string().optional(),
      mems: z.string().optional(),
      realtimeRuntime: z.number().optional(),
      realtimePeriod: z.number().optional(),
      shares: count.optional(),
    })
    .nullish(),
  blockIO: z.record(z.string(), z.unknown()).nullish(),
  network: z.object({ classID: z.number().nullish(), priorities: z.array(z.unknown()).nullish() }).nullish(),
  rdma: z.record(z.string(), z.unknown()).nullish(),
  unified: z.record(z.string(), z.unknown()).nullish(),
});

const config = z.object({
  ociVersion: z.string().regex(/^1\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]+)?$/, 'is not 1.x'),
  hostname: z.string().max(64).optional(),
  domainname: z.literal('', { error: 'is not supported' }).nullish(),
  root: z.object({ path: z.string().min(1), readonly: z.boolean().optional() }),
  mounts: z.array(mount).nullish(),
  annotations: z.record(z.string().min(1), z.string()).nullish(),
  hooks: z
    .object({
      prestart: hooks,
      createRuntime: hooks,
      createContainer: hooks,
      startContainer: hooks,
      poststart: hooks,
      poststop: hooks,
    })
    .nullish(),
  /** Absent: the container can be created, and not started. */
  process: processSchema.optional(),
  linux: z.object({
    namespaces: z
      .array(z.object({ type: z.string(), path: z.string().startsWith('/').or(z.literal('')).optional() }))
      .refine(hasDistinctTypes, 'a type is given twice')
      .nullish(),
    uidMappings: z.array(z.unknown()).nullish(),
    gidMappings: z.array(z.unknown()).nullish(),
    devices: z.array(z.object({ path: z.string() })).nullish(),
    sysctl: z.record(z.string(), z.string()).nullish(),
    /** Checked by the compiler of profiles. */
    seccomp: z.record(z.string(), z.unknown()).nullish(),
    maskedPaths: paths,
    readonlyPaths: paths,
    rootfsPropagation: z.string().nullish(),
    personality: z.object({ domain: z.string() }).nullish(),
    intelRdt: unsupported,
    timeOffsets: unsupported,
    memoryPolicy: unsupported,
    netDevices: unsupported,
    resources: resourcesSchema.nullish(),
    cgroupsPath: z
      .string()
      .max(4095)
      .regex(/^[^\n\0]*$/, 'has a line end')
      .nullish(),
  }),
});

/** The configuration of a bundle. */
export type OciConfig = z.infer<typeof config>;
export type OciMount = z.infer<typeof mount>;
export type OciResources = z.infer<typeof resourcesSchema>;
export type OciHooks = NonNullable<OciConfig['hooks']>;
export type OciHook = NonNullable<z.infer<typeof hooks>>[number];
export type OciProcess = z.infer<typeof processSchema>;

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
