// What the service keeps of jobs, as plain data. The schemas check a request, and are the API's
// document.
import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { z } from 'zod';
import { specSchema as sandboxSchema } from './records.js';

const HOUR = 3_600_000;
const { image, cpus, memory, disk, env, secrets, network, metadata } = sandboxSchema.shape;

/** What the contents of a file are called. */
export const DIGEST = /^sha256:([0-9a-f]{64})$/;
const digestSchema = z.string().regex(DIGEST, { error: 'sha256: and 64 hexadecimal digits are needed' });
const base64Schema = z.strictObject({ base64: z.base64() });
const uploadSchema = z.strictObject({ upload: digestSchema.describe('What POST /v1/uploads has returned') });

const isNormal = (path: string): boolean => path !== '/' && posix.normalize(path) === path && !path.endsWith('/');

/** What is kept of the spec. */
export const jobSpecSchema = z.strictObject({
  image,
  command: z.array(z.string().max(131_072)).max(1024).default([]).describe("Arguments. Default: the image's command"),
  ...{ cpus, memory, disk, env, secrets, network, metadata },
  cwd: z.string().min(1).max(4096).optional().describe("An absolute path. Default: the image's"),
  user: z.string().min(1).max(256).optional().describe("user[:group], names or numbers. Default: the image's"),
  timeout: z
    .int()
    .min(1000)
    .max(24 * HOUR)
    .default(HOUR)
    .describe('Milliseconds of one run. Its program gets SIGTERM then, and SIGKILL 2 seconds later.'),
  deadline: z
    .int()
    .min(1000)
    .max(30 * 24 * HOUR)
    .optional()
    .describe('Milliseconds from its submission, after which it ends wherever it is. Default: none'),
  retries: z.int().min(0).max(10).default(0).describe('How often it runs again if it failed, timed out or was lost'),
  filesPath: z
    .string()
    .startsWith('/')
    .max(4096)
    .default('/')
    .describe('A directory of the image, in which `files` are extracted before its program starts'),
  outputs: z
    .string()
    .startsWith('/')
    .max(4096)
    .refine(isNormal, { error: 'a path without . and .. is needed, and not /' })
    .optional()
    .describe('A file or directory that is kept as a tar archive once its program has ended. Default: none'),
  stdin: digestSchema.optional().describe('The input of its program. Default: none'),
  files: digestSchema.optional().describe('A tar archive'),
  callback: z
    .url({ protocol: /^https?$/, error: 'an http or https URL is needed' })
    .max(2048)
    .refine((text) => !/^[^/]*\/\/[^/]*@/.test(text), { error: 'a URL without a user is needed' })
    .optional()
    .describe('Its record is sent there by POST when it has ended, at least once. Default: nowhere'),
  priority: z.int().min(-100).max(100).default(0).describe("The highest of a tenant's jobs is first"),
});
export type JobSpec = z.output<typeof jobSpecSchema>;

/** What a tenant asks for. */
export const jobRequestSchema = jobSpecSchema.extend({
  stdin: z
    .union([z.string(), base64Schema, uploadSchema])
    .optional()
    .describe('The input of its program: a text, bytes, or an upload. Default: none'),
  files: z
    .union([base64Schema, uploadSchema])
    .optional()
    .describe('A tar archive, which is extracted before its program starts. Its files belong to root.'),
});
export type JobRequest = z.output<typeof jobRequestSchema>;

/** The files that a job reads. */
export const JOB_FILES = ['stdin', 'files'] as const;
export type JobFile = (typeof JOB_FILES)[number];

/** What a job reads. Without bytes it is an upload. */
export interface JobInput {
  digest: string;
  bytes?: Uint8Array | undefined;
}

/** What is kept of a request, and what the job reads. */
export function readRequest({ stdin, files, ...rest }: JobRequest): { spec: JobSpec; inputs: Map<JobFile, JobInput> } {
  const inputs = new Map<JobFile, JobInput>();
  if (stdin !== undefined) inputs.set('stdin', inputOf(stdin));
  if (files !== undefined) inputs.set('files', inputOf(files));
  const digests = Object.fromEntries([...inputs].map(([name, { digest }]) => [name, digest]));
  // In the order of the schema, as the spec comes back from the database: the two are compared.
  return { spec: jobSpecSchema.parse({ ...rest, ...digests }), inputs };
}

function inputOf(given: string | { base64: string } | { upload: string }): JobInput {
  if (typeof given !== 'string' && 'upload' in given) return { digest: given.upload };
  const bytes = typeof given === 'string' ? Buffer.from(given) : Buffer.from(given.base64, 'base64');
  return { digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, bytes };
}

/**
 * - `queued`: it holds nothing, and its program does not run.
 * - `starting`: it holds its resources, and its machine may boot.
 * - `running`: its program runs.
 * - `ended`: nothing of it is left but this record and its output.
 */
export const JOB_STATUSES = ['queued', 'starting', 'running', 'ended'] as const;

/**
 * - `succeeded`: its program exited with 0.
 * - `failed`: its program exited with another code.
 * - `timed-out`: one run of it took longer than `timeout`.
 * - `not-started`: its image or program does not exist, or the image does not allow it.
 * - `lost`: its program may have run, and nobody knows how it ended: the machine or the host failed.
 * - `cancelled`: its tenant asked for it.
 * - `expired`: its deadline passed.
 */
export const JOB_REASONS = ['succeeded', 'failed', 'timed-out', 'not-started', 'lost', 'cancelled', 'expired'] as const;
export type JobReason = (typeof JOB_REASONS)[number];

/**
 * Why a job is queued:
 * - `share`: its tenant's share has no room for it now.
 * - `room`: the host has no room for it now.
 * - `turn`: others are before it, of its tenant or of another one.
 */
export const JOB_WAITS = ['share', 'room', 'turn'] as const;
export type JobWait = (typeof JOB_WAITS)[number];

/** Why the server ends a job that has not ended by itself. */
export const JOB_ORDERS = ['cancelled', 'expired'] as const;
export type JobOrder = (typeof JOB_ORDERS)[number];

/** How a run ended. */
export interface JobEnd {
  reason: JobReason;
  /** As a shell's: 128 + n if signal n ended the program. */
  exitCode?: number | undefined;
  /** The guest's kernel killed it for lack of memory. */
  oomKilled?: boolean | undefined;
  /** With `not-started` and `lost`: one line. */
  error?: string | undefined;
}

export interface JobRecord {
  id: string;
  tenant: string;
  spec: JobSpec;
  status: (typeof JOB_STATUSES)[number];
  /** The number of the run that is under way, or was the last. A run has a container of its own. */
  attempts: number;
  /** RFC 3339. */
  created: string;
  /** Since it last holds its resources. */
  placed?: string | undefined;
  /** Since its program last runs. */
  started?: string | undefined;
  ended?: string | undefined;
  /** It is to end for this. */
  order?: JobOrder | undefined;
  reason?: JobReason | undefined;
  exitCode?: number | undefined;
  oomKilled?: boolean | undefined;
  error?: string | undefined;
  /** The beginning of its output is not kept. */
  truncated?: boolean | undefined;
  /** Bytes of what it has left, as an archive. */
  outputs?: number | undefined;
  /** Why there is none: one line. */
  outputsError?: string | undefined;
  /** The boot of the host in which its run began. */
  boot?: string | undefined;
}

/** What a tenant is told of a job. */
export function describeJob({ tenant: _, placed: _p, boot: _b, order: _o, spec, ...rest }: JobRecord): object {
  const { outputs: left, outputsError: leftError, ...more } = rest;
  return { ...spec, ...more, left, leftError };
}

/** A run that ended so may be followed by another. */
const AGAIN: ReadonlySet<JobReason> = new Set(['failed', 'timed-out', 'lost']);

/** Whether the run is followed by another. */
export function isFollowed({ attempts, spec }: JobRecord, { reason }: JobEnd): boolean {
  return AGAIN.has(reason) && attempts <= spec.retries;
}

/** What a job has left. */
export interface Outputs {
  /** Bytes of the archive. */
  size?: number | undefined;
  /** Why there is none: one line. */
  error?: string | undefined;
}

/** The output of the last run: lines of JSON, each with `stream`, `time` and `log`. */
export interface JobOutput {
  lines: string;
  /** True if the beginning is missing. */
  truncated: boolean;
  /** Bytes of the run's output before these lines. */
  offset: number;
}

/** A line of a run's output, and where it is: bytes from the beginning of the output. */
export interface OutputLine {
  line: string;
  start: number;
  end: number;
}

/** A place in the output of a job: so many bytes of the output of a run. */
export interface OutputPlace {
  /** Default: the run that is under way, or the last one. */
  run?: number | undefined;
  offset: number;
}

/**
 * What a reader of a job's output learns:
 * - `run`: lines of this run follow, which is not the one that was asked for or the last lines were of
 * - `gap`: so many bytes before the next line are not kept
 * - `line`: with its end as the place
 * - `end`: the job has ended
 */
export type JobEvent = { place: Required<OutputPlace> } & (
  | { name: 'run' }
  | { name: 'gap'; bytes: number }
  | { name: 'line'; line: string }
  | { name: 'end'; job: JobRecord }
);
