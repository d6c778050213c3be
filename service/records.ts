// What the service keeps: tenants and their sandboxes, as plain data. The schemas check a request,
// and are the API's document.
import { z } from 'zod';
import { secretUsesSchema } from './secret.js';

/** What a host, a tenant or a sandbox holds. */
export interface Resources {
  cpus: number;
  /** Bytes. */
  memory: number;
  /** Bytes of writable layers, were they full. */
  disk: number;
}

/** A tenant, and the most that its sandboxes and jobs hold together. */
export interface Tenant extends Resources {
  /** 1 to 32 of a-z, 0-9 and -. */
  name: string;
  /** Number of sandboxes. */
  sandboxes: number;
  /** Number of snapshots of sandboxes. */
  snapshots: number;
  /** Number of jobs that have not ended: also of those in the queue. */
  jobs: number;
  /** Bytes of the files of jobs: uploads, and what jobs read and leave. */
  files: number;
  /** Requests: `10/s`, `10/m`, `10/h`, or `none` for no limit. */
  rate: string;
}

/** So many requests in so many milliseconds. */
export interface Rate {
  count: number;
  period: number;
}

const PERIODS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };
export const rateSchema = z.string().regex(/^([1-9]\d{0,3}\/[smh]|none)$/);

/** @param text is one of `rateSchema`. Returns undefined for `none`. */
export function parseRate(text: string): Rate | undefined {
  const [count = '', unit = ''] = text.split('/');
  const period = PERIODS[unit];
  return period === undefined ? undefined : { count: Number(count), period };
}

/** What usage is told by. */
export const PERIOD_NAMES = ['hour', 'day'] as const;
export type PeriodName = (typeof PERIOD_NAMES)[number];

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const HOUR = 3_600_000;
/** Characters of a variable or of a word of metadata. */
const MAX_WORD = 32_768;
const MAX_WORDS = 256;

/** Words by name. */
export const wordsSchema = z
  .record(z.string().min(1).max(256), z.string().max(MAX_WORD))
  .refine((words) => Object.keys(words).length <= MAX_WORDS, { error: `more than ${MAX_WORDS} entries` });

/** What a tenant asks for. */
export const specSchema = z.strictObject({
  image: z.string().min(1).max(512).describe("The name of an image in the tenant's home: debian:12"),
  cpus: z.number().min(0.01).max(64).default(1).describe('CPUs. The machine has the number rounded up.'),
  memory: z
    .int()
    .min(64 * MIB)
    .max(1024 * GIB)
    .default(512 * MIB)
    .describe("Bytes of the machine's memory"),
  disk: z
    .int()
    .min(MIB)
    .max(1024 * GIB)
    .default(GIB)
    .describe('Bytes of the writable layer'),
  env: wordsSchema.default({}).describe("Added to the image's variables"),
  secrets: secretUsesSchema,
  network: z.enum(['none', 'public']).default('none').describe('public: outbound connections to the public Internet'),
  metadata: wordsSchema.default({}).describe("The tenant's own words. No program reads them."),
  lifetime: z
    .int()
    .min(1000)
    .max(24 * HOUR)
    .default(HOUR)
    .describe('Milliseconds from its start, and from each resume, after which it ends'),
  atExpiry: z.enum(['end', 'pause']).default('end').describe('What becomes of it when its lifetime is over'),
  idle: z
    .int()
    .min(1000)
    .max(24 * HOUR)
    .optional()
    .describe('Milliseconds without a command or transfer, after which it is paused. Default: it is not'),
  resumeOnUse: z.boolean().default(false).describe('True: a command or transfer resumes it'),
});
export type SandboxSpec = z.output<typeof specSchema>;

/** What one that continues a copy may ask for. All else is as it was then. */
export const continuedSchema = z.strictObject({
  metadata: specSchema.shape.metadata.removeDefault().optional(),
  lifetime: specSchema.shape.lifetime.removeDefault().optional(),
  atExpiry: specSchema.shape.atExpiry.removeDefault().optional(),
  idle: specSchema.shape.idle,
  resumeOnUse: specSchema.shape.resumeOnUse.removeDefault().optional(),
});
export type ContinuedSpec = z.output<typeof continuedSchema>;

/**
 * - `starting`: it holds its resources, and its machine may boot.
 * - `running`: it takes commands.
 * - `pausing`, `resuming`: on the way to `paused` and `running`.
 * - `paused`: nothing in it runs, and no lifetime passes.
 * - `ended`: nothing of it is left but this record.
 */
export const STATUSES = ['starting', 'running', 'pausing', 'paused', 'resuming', 'ended'] as const;

/**
 * Where a paused sandbox is.
 * - `disk`: its machine has ended, and its memory is saved. It holds its disk, and as much for its memory.
 * - `memory`: its machine is on the emulator and cannot be saved. Its processors stand still, and it holds
 *   what it held. One on User-Mode Linux is not paused at all.
 */
export const KEPT_IN = ['disk', 'memory'] as const;

/**
 * - `stopped`: its tenant asked for it.
 * - `expired`: its lifetime is over.
 * - `failed`: it did not start, or its machine ended by itself.
 */
export const REASONS = ['stopped', 'expired', 'failed'] as const;

/** Why a sandbox ended. */
export interface End {
  reason: (typeof REASONS)[number];
  /** With `failed`, and if it should have been paused: one line. */
  error?: string | undefined;
}

export interface SandboxRecord {
  /** Also the name of its container in the tenant's home. */
  id: string;
  tenant: string;
  spec: SandboxSpec;
  /** The ID of the snapshot or sandbox that it has continued. */
  origin?: string | undefined;
  status: (typeof STATUSES)[number];
  /** RFC 3339. */
  created: string;
  /** Since it runs. */
  started?: string | undefined;
  /** When its lifetime is over. Absent: `lifetime` after `started`. */
  expires?: string | undefined;
  /** Since it is paused. */
  paused?: string | undefined;
  /** While it is paused. */
  keptIn?: (typeof KEPT_IN)[number] | undefined;
  ended?: string | undefined;
  reason?: End['reason'] | undefined;
  error?: string | undefined;
}

/** A sandbox as it was: its memory, processes and files. */
export interface SnapshotRecord {
  /** Also its name in the tenant's home. */
  id: string;
  tenant: string;
  /** The ID of the sandbox. */
  sandbox: string;
  /** That of the sandbox. */
  spec: SandboxSpec;
  /** RFC 3339. */
  created: string;
}
