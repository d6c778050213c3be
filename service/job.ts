// What the service keeps of jobs, as plain data. The schemas check a request, and are the API's
// document.
import { z } from 'zod';
import { specSchema as sandboxSchema } from './records.js';

const HOUR = 3_600_000;
const { image, cpus, memory, disk, env, network, metadata } = sandboxSchema.shape;

/** What a tenant asks for. */
export const jobSpecSchema = z.strictObject({
  image,
  command: z.array(z.string().max(131_072)).max(1024).default([]).describe("Arguments. Default: the image's command"),
  ...{ cpus, memory, disk, env, network, metadata },
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
  priority: z.int().min(-100).max(100).default(0).describe("The highest of a tenant's jobs is first"),
});
export type JobSpec = z.output<typeof jobSpecSchema>;

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
  /** The boot of the host in which its run began. */
  boot?: string | undefined;
}

/** The output of the last run: lines of JSON, each with `stream`, `time` and `log`. */
export interface JobOutput {
  lines: string;
  /** True if the beginning is missing. */
  truncated: boolean;
}
