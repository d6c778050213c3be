// The levels of this project: a virtual machine for each container, with the jail of its machine
// process and without, and on KVM also without a template that it starts from.
import { basename } from 'node:path';
import { sourceFile } from '../../installation/index.js';
import { findProgram } from '../../programs/index.js';
import { Home } from '../../sandbox/index.js';
import { MACHINE_PROGRAM, probeMachine, TEMPLATE_PROGRAM } from '../../sandbox/machines.js';
import { type CommandLine, FOLDER, type Level, type Missing } from '../level.js';

/** Matches the words of a process of Node.js that runs a program of the sandbox. */
const runs = (program: string) => new RegExp(`^\\S*node \\S*/${basename(program).replace('.', '\\.')} `);
/** The machine process, QEMU, and the kernel of User-Mode Linux. */
const FACES = new RegExp(`${runs(MACHINE_PROGRAM).source}|^\\S*qemu-system-x86_64 |^\\S+ mem=\\d`);
/** The kernel of User-Mode Linux runs programs as processes that it traces. */
const TRACES = /^\S+ mem=\d/;
/** Makes the template from which later machines start. */
const PREPARES = runs(TEMPLATE_PROGRAM);

type Machine = 'kvm' | 'tcg' | 'uml';

const SUMMARIES: Record<Machine, string> = {
  kvm: 'a microVM on KVM',
  tcg: "a microVM on QEMU's CPU emulator",
  uml: 'a kernel that is a process: User-Mode Linux',
};

async function missing(machine: Machine): Promise<Missing | undefined> {
  if (machine === 'tcg' && findProgram('qemu-system-x86_64') === undefined) {
    return { reason: 'QEMU is not installed', advice: 'apt-get install qemu-system-x86' };
  }
  if (machine !== 'kvm') return undefined;
  const { usable, reason } = await probeMachine();
  return usable ? undefined : { reason, advice: 'tsvm doctor' };
}

/** How the machines of a level differ from those of `tsvm run`: by a word of its name. */
type Variant = 'nojail' | 'cold';

const VARIANTS: Record<Machine, readonly (Variant | undefined)[]> = {
  tcg: [undefined, 'nojail'],
  uml: [undefined, 'nojail'],
  // The others always start cold.
  kvm: [undefined, 'nojail', 'cold'],
};

function machineLevel(machine: Machine, variant: Variant | undefined): Level {
  const [jail, cold] = [variant !== 'nojail', variant === 'cold'];
  return {
    name: variant === undefined ? machine : `${machine}-${variant}`,
    summary: `${SUMMARIES[machine]}${jail ? ', in a jail' : ', without a jail'}${cold ? ', without a template' : ''}`,
    missing: () => missing(machine),
    async prepare({ image, memory, shared }) {
      const env = { ...process.env, TSVM_ACCEL: '', TSVM_JAIL: '', TSVM_ISOLATION: '' };
      const call = (...words: readonly string[]): CommandLine => {
        return { words: [process.execPath, sourceFile('bin/tsvm'), '--quiet', ...words], env };
      };
      const options = [
        '--rm',
        '--pull=never',
        `--accel=${machine}`,
        `--jail=${jail ? 'auto' : 'off'}`,
        ...(cold ? ['--cold'] : []),
        `--memory=${memory}`,
        '--read-only',
        '--tmpfs=/tmp:exec,mode=1777',
        `--volume=${shared}:${FOLDER}`,
        '--user=0:0',
      ];
      const named = (id: string, [program = '', ...words]: readonly string[]) => {
        return [...options, `--name=${id}`, `--entrypoint=${program}`, image, ...words];
      };
      return {
        version: '',
        limitsMemory: true,
        faces: FACES,
        traces: TRACES,
        prepares: PREPARES,
        places: [new Home().containers.path],
        start: (id, command) => call('run', '--network=none', ...named(id, command)),
        connect(id, command, { enterHost, address, port }) {
          const { words, env } = call('run', `--allow-net=${address}:${port}`, ...named(id, command));
          return { words: [...enterHost, ...words], env };
        },
        exec: (id, _pid, command) => call('exec', '--user=0:0', id, ...command),
        remove: (id) => call('rm', '--force', id),
        async [Symbol.asyncDispose]() {},
      };
    },
  };
}

export const tsvmLevels: readonly Level[] = (['tcg', 'uml', 'kvm'] as const).flatMap((machine) =>
  VARIANTS[machine].map((variant) => machineLevel(machine, variant)),
);
