// tsvm doctor: checks whether this host can run containers, and advises.
import { execFile } from 'node:child_process';
import { accessSync, constants, mkdirSync, statfsSync } from 'node:fs';
import { freemem, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Command, Option } from 'commander';
import { messageOf } from '../../../errors/index.js';
import { availableKernel, type BootKernel, findBootKernel } from '../../../kernels/index.js';
import { printableJson } from '../../../printable/index.js';
import {
  type Accelerator,
  DEFAULT_MEMORY,
  defaultJailMode,
  givenCgroupParent,
  Home,
} from '../../../sandbox/internal.js';
import {
  canPing,
  findCgroupPlace,
  JAIL_PARTS,
  type JailReport,
  type ProbeResult,
  probeMachine,
  ptraceScope,
  whyNotUml,
} from '../../../sandbox/machines.js';
import { formatBytes } from '../../output/table.js';
import { EMULATION, STALE_CODE, USER_MODE } from '../../output/warnings.js';
import { type Context, createCommand } from '../command.js';
import { nodeRelease } from './node-release.js';

/** Exit code: containers cannot run on this host. */
const UNFIT = 1;

const QEMU = 'qemu-system-x86_64';

type Verdict = 'ok' | 'warning' | 'missing';

interface Check {
  verdict: Verdict;
  /** What was found, in one line. */
  found: string;
  /** What to do about it, in one line. */
  advice?: string;
}

const ADVICE: Record<string, string> = {
  'no-kvm': 'enable virtualisation in the firmware or, in a virtual machine, nested virtualisation; then: modprobe kvm',
  'kvm-permission': 'join the group of /dev/kvm: sudo usermod -aG kvm $USER, then log in again',
  'kvm-unusable': 'use a host with hardware virtualisation: this KVM only runs kernels built for it',
};

const JAIL_ADVICE =
  'for all of it, allow user namespaces (Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0), or run as root';

const USER_ADVICE = 'until then machines run as root: docs/isolation.md, users';

export function command(context: Context): Command {
  return createCommand('tsvm doctor', context)
    .description('Checks whether this host can run containers. Exits with 1 if it cannot.')
    .addOption(new Option('--format <FORMAT>', 'output format').choices(['text', 'json']).default('text'))
    .action(async ({ format }: { format: string }) => {
      const qemu = await checkProgram(QEMU, ['--version'], 'to run without KVM: apt-get install qemu-system-x86');
      const { jail, ...result } = await probeMachine();
      // What `--accel auto` selects for a container with one CPU.
      const umlKernel = await findBootKernel({ isProgram: true });
      const noUml = whyNotUml({
        cpus: 1,
        kernel: undefined,
        hasKernel: umlKernel !== undefined,
        scope: ptraceScope(),
        jailMode: defaultJailMode(),
        jail,
      });
      const withoutKvm = noUml === undefined ? 'uml' : qemu.verdict === 'ok' ? 'tcg' : null;
      const accelerator = result.usable ? 'kvm' : withoutKvm;
      const kvm = checkKvm(result, accelerator);
      const checks: Record<string, Check> = {
        kvm,
        jail: checkJail(jail),
        ...(jail?.companion === undefined ? {} : { qemuJail: checkJail(jail.companion) }),
        cgroup: checkCgroup(),
        kernel: await checkKernel(accelerator),
        uml: checkUml(umlKernel, accelerator, noUml),
        home: checkHome(),
        memory: checkMemory(),
        'mkfs.ext4': await checkProgram('mkfs.ext4', ['-V'], 'for the disks of containers: apt-get install e2fsprogs'),
        qemu: accelerator === 'tcg' ? { ...qemu, advice: `with --cpus 2 or more, ${STALE_CODE}` } : qemu,
        zstd: await checkProgram('zstd', ['--version'], 'for images that zstd compresses: apt-get install zstd'),
        xz: await checkProgram(
          'xz',
          ['--version'],
          'for images and archives that xz compresses: apt-get install xz-utils',
        ),
        node: checkNode(),
        ping: checkPing(),
        versions: { verdict: 'ok', found: `tsvm ${context.version}, node ${process.version}, Linux ${release()}` },
      };
      const ok = Object.values(checks).every(({ verdict }) => verdict !== 'missing');
      const report = { ok, accelerator, ...checks, kvm: { ...kvm, ...result } };
      if (format === 'json') process.stdout.write(`${printableJson(report)}\n`);
      else process.stdout.write(Object.entries(checks).map(describeCheck).join(''));
      if (!ok) context.exitCode = UNFIT;
    });
}

function describeCheck([name, { verdict, found, advice }]: [string, Check]): string {
  const line = `${verdict.padEnd(8)} ${name.padEnd(10)} ${found}\n`;
  return advice === undefined ? line : `${line}${' '.repeat(20)}${advice}\n`;
}

/** @param accelerator what containers run on; null: nothing */
function checkKvm({ usable, code, reason }: ProbeResult, accelerator: Accelerator | null): Check {
  if (usable) return { verdict: 'ok', found: reason };
  const instead =
    accelerator === null ? '' : `without it ${accelerator === 'uml' ? USER_MODE : EMULATION}; for full speed: `;
  return {
    verdict: accelerator === null ? 'missing' : 'warning',
    found: reason,
    advice: `${instead}${ADVICE[code ?? ''] ?? 'use a host with KVM'}`,
  };
}

/** What keeps a machine process, or QEMU, from the host. */
function checkJail(report: JailReport | undefined): Check {
  if (report === undefined) {
    const [found, advice] =
      process.env.TSVM_JAIL === 'off'
        ? ['there is none: TSVM_JAIL is off', 'unset TSVM_JAIL']
        : ['there is none: its launcher is not built', 'build it: npm run build'];
    return { verdict: 'warning', found, advice };
  }
  const landlock = report.landlock > 0 ? `landlock ${report.landlock}` : 'no landlock';
  const means = JAIL_PARTS.map((part) => `${part}: ${report[part] ?? 'open'}`).join(', ');
  const user = report.uid === 0 ? 'root' : process.geteuid?.() === 0 ? 'its own' : 'yours';
  const found = `${means}, system calls: ${report.seccomp ?? 'open'}, user: ${user} (${landlock})`;
  const reason = report.noNamespaces ?? report.noLandlock;
  if (reason !== undefined) return { verdict: 'warning', found: `${found}: ${reason}`, advice: JAIL_ADVICE };
  if (report.noUser === undefined) return { verdict: 'ok', found };
  return { verdict: 'warning', found: `${found}: ${report.noUser}`, advice: USER_ADVICE };
}

/** What bounds a machine on the host. */
function checkCgroup(): Check {
  try {
    const place = findCgroupPlace(givenCgroupParent(undefined));
    if (place.kind === 'folder') return { verdict: 'ok', found: `each machine has its own in ${place.path}` };
    if (place.kind === 'systemd') return { verdict: 'ok', found: 'each machine is a scope of your systemd' };
    return { verdict: 'warning', found: `machines are not bounded: ${place.why}`, advice: place.advice };
  } catch (error) {
    return { verdict: 'warning', found: messageOf(error), advice: 'containers will not start' };
  }
}

async function checkKernel(accelerator: Accelerator | null): Promise<Check> {
  const kernel = availableKernel();
  if (kernel === undefined) {
    const other = await findBootKernel({});
    if (other !== undefined) return { verdict: 'ok', found: other.path };
    const advice = 'run: tsvm kernel pull debian (a download), or: tsvm kernel build (some minutes)';
    const verdict = accelerator === 'uml' ? 'warning' : 'missing';
    return { verdict, found: 'neither fetched nor built', advice };
  }
  const { packed, isUnpacked, directory } = kernel;
  const path = join(directory, 'vmlinux');
  if (packed === undefined) return { verdict: 'ok', found: path };
  const where = isUnpacked ? path : `the first run unpacks it to ${directory}`;
  return { verdict: 'ok', found: `${packed.source}, which came with tsvm: ${where}` };
}

/** User-Mode Linux, which needs neither KVM nor QEMU. @param noUml why it is not taken where KVM is not usable */
function checkUml(kernel: BootKernel | undefined, accelerator: Accelerator | null, noUml: string | undefined): Check {
  if (kernel === undefined) {
    const advice = 'to run without KVM: tsvm kernel pull debian-uml (a download), or: tsvm kernel build uml';
    return { verdict: 'warning', found: 'neither fetched nor built', advice };
  }
  const found = kernel.path;
  if (noUml !== undefined) return { verdict: 'warning', found, advice: `only --accel uml runs it: ${noUml}` };
  if (accelerator !== 'uml') return { verdict: 'ok', found };
  return { verdict: 'ok', found, advice: 'containers run on it, but those with --cpus 2 or more: docs/uml.md' };
}

function checkNode(): Check {
  const release = nodeRelease(process.version, new Date());
  return { verdict: release.advice === undefined ? 'ok' : 'warning', ...release };
}

function checkHome(): Check {
  const home = new Home().path;
  try {
    mkdirSync(home, { recursive: true });
    accessSync(home, constants.W_OK);
    const { bavail, bsize } = statfsSync(home);
    return { verdict: 'ok', found: `${home}, ${formatBytes(bavail * bsize)} free` };
  } catch (error) {
    return { verdict: 'missing', found: messageOf(error), advice: 'set TSVM_HOME to a folder that you can write to' };
  }
}

function checkMemory(): Check {
  const found = `${formatBytes(freemem())} free of ${formatBytes(totalmem())}`;
  if (freemem() >= DEFAULT_MEMORY) return { verdict: 'ok', found };
  return { verdict: 'warning', found, advice: 'a container needs 512m unless -m sets another size' };
}

/** The pings of containers are those of ping sockets of the host (icmp(7)). */
function checkPing(): Check {
  if (canPing()) return { verdict: 'ok', found: 'containers can ping' };
  return {
    verdict: 'warning',
    found: 'containers cannot ping: net.ipv4.ping_group_range has none of your groups',
    advice: "to allow it: sysctl -w net.ipv4.ping_group_range='0 2147483647'",
  };
}

async function checkProgram(name: string, args: string[], advice: string): Promise<Check> {
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
  try {
    const { stdout, stderr } = await promisify(execFile)(name, args, { env });
    return { verdict: 'ok', found: (stdout || stderr).replace(/\n.*/s, '') };
  } catch {
    return { verdict: 'warning', found: 'not found', advice };
  }
}
