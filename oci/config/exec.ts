// What `exec` runs in a container: a process that the engine describes, or words of a command line beside
// the container's own process.
import { z } from 'zod';
import { type OciConfig, type OciProcess, processSchema } from './config.js';
import { OciError } from './oci-error.js';
import { NO_PROCESS } from './translate.js';

const words = z.object({
  args: z.array(z.string()).min(1, 'no command is given'),
  env: z.array(z.string()),
  groups: z.array(z.string().regex(/^[0-9]+$/, 'use numbers')),
  capabilities: z.array(z.string()),
  /** Absent: the container's. */
  cwd: z.string().startsWith('/').optional(),
  user: z
    .string()
    .regex(/^[0-9]+(:[0-9]+)?$/, 'use UID or UID:GID, in numbers')
    .optional(),
  terminal: z.boolean(),
  noNewPrivileges: z.boolean(),
});

const request = z.object({
  /** True if the engine takes a terminal. */
  console: z.boolean(),
  process: processSchema.optional(),
  words: words.optional(),
});

export interface ExecRequest {
  process: OciProcess;
  hasConsole: boolean;
}

/**
 * @param text what the command `tsvm-oci` sent, JSON
 * @throws OciError
 */
export function readExec({ process }: OciConfig, text: string): ExecRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new OciError('exec: the process is no JSON');
  }
  const { data, error } = request.safeParse(value);
  if (data === undefined) {
    const [issue] = error.issues;
    throw new OciError(`exec: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const hasConsole = data.console;
  if (data.process !== undefined) return { process: data.process, hasConsole };
  if (data.words !== undefined) return { process: beside(process ?? NO_PROCESS, data.words), hasConsole };
  throw new OciError('exec: there is no process');
}

function beside(process: OciProcess, given: z.infer<typeof words>): OciProcess {
  const { args, env, groups, capabilities, cwd, user, terminal, noNewPrivileges } = given;
  const [uid, gid = 0] = user?.split(':').map(Number) ?? [];
  const more = (own: string[] = []) => [...own, ...capabilities];
  const { bounding, effective, permitted, inheritable, ambient } = process.capabilities ?? {};
  return {
    ...process,
    args,
    env: [...(process.env ?? []), ...env],
    cwd: cwd ?? process.cwd,
    terminal,
    consoleSize: undefined,
    user: {
      ...(uid === undefined ? process.user : { uid, gid, umask: process.user.umask }),
      additionalGids: [...(uid === undefined ? (process.user.additionalGids ?? []) : []), ...groups.map(Number)],
    },
    capabilities: {
      ...{ bounding: more(bounding), effective: more(effective), permitted: more(permitted) },
      ...{ inheritable, ambient },
    },
    noNewPrivileges: noNewPrivileges || process.noNewPrivileges,
  };
}
