// Jobs of several images, each with an answer that is known before and that no other job has.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Random } from '../fixtures/random.js';
import { DEBIAN, PYTHON, run, TSVM, uml } from './machine.js';
import { OwnHome } from './own-home.js';

/** The image that `./quickstart --setup-only --test` makes. */
const PROGRAMS = 'programs:12';
const NODE = 'node:own';
const MIB = 2 ** 20;

export interface MixedJob {
  kind: string;
  /** As POST /v1/jobs takes it. */
  spec: { memory: number };
  retries: number;
  reason: 'succeeded' | 'failed' | 'timed-out';
  exitCode: number;
  attempts: number;
  stdout: string;
  stderr: string;
}

/** A home with the images of all jobs: those of the tests, and one with this host's Node.js. */
export async function homeOfMixedJobs(): Promise<OwnHome> {
  const home = new OwnHome(true);
  const root = mkdtempSync('/var/tmp/tsvm-node-');
  const libraries = execFileSync('ldd', [process.execPath], { encoding: 'utf8' }).match(/\/\S+/g) ?? [];
  for (const path of [process.execPath, ...libraries]) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    cpSync(path, join(root, path), { dereference: true });
  }
  const archive = join(home.path, 'node.tar');
  execFileSync('tar', ['-c', '-f', archive, '-C', root, '.']);
  rmSync(root, { recursive: true });
  const { code, stderr } = await run(uml, [TSVM, 'import', archive, NODE], { env: { TSVM_HOME: home.path } });
  if (code !== 0) throw new Error(stderr);
  rmSync(archive);
  return home;
}

const hash = (text: string) => createHash('sha256').update(text).digest('hex');

/** A job of a random kind. @param token what no other job has: letters, digits and `-` */
export function mixedJob(random: Random, token: string): MixedJob {
  const exitCode = random.chance(0.5) ? 0 : 1 + random.below(100);
  const lines = 1 + random.below(200);
  const counted = Array.from({ length: lines }, (_, n) => `${token} ${n + 1}\n`).join('');
  const pause = random.below(10) / 10;
  const reason = exitCode === 0 ? 'succeeded' : 'failed';
  const ended = { reason, exitCode, attempts: 1, retries: 0, stderr: '' } as const;
  const small = { memory: 128 * MIB };
  switch (random.pick(['sh', 'retried', 'late', 'silent', 'python', 'gcc', 'node'])) {
    case 'sh': {
      const script = `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo ${token} $i; done; sleep ${pause}; cat >&2; exit ${exitCode}`;
      const spec = { ...small, image: DEBIAN, command: ['sh', '-c', script], stdin: token };
      return { ...ended, kind: 'sh', spec, stdout: counted, stderr: token };
    }
    case 'retried': {
      // Each run has a disk of its own.
      const script = `test -e /root/ran && echo again; touch /root/ran; echo ${token}; exit ${exitCode}`;
      const retries = 1;
      const spec = { ...small, image: DEBIAN, command: ['sh', '-c', script], retries };
      return { ...ended, kind: 'retried', spec, retries, stdout: `${token}\n`, attempts: exitCode === 0 ? 1 : 2 };
    }
    case 'late': {
      // It says nothing: on a busy host its time may be over before a program begins.
      const spec = { ...small, image: DEBIAN, command: ['sleep', '1015'], timeout: 1000 };
      return { ...ended, kind: 'late', spec, stdout: '', reason: 'timed-out', exitCode: 124 };
    }
    case 'silent': {
      const spec = { ...small, image: DEBIAN, command: ['sh', '-c', `exit ${exitCode}`] };
      return { ...ended, kind: 'silent', spec, stdout: '' };
    }
    case 'python': {
      const script = `import hashlib, sys, time
text = sys.stdin.read()
print(hashlib.sha256(text.encode()).hexdigest(), flush=True)
time.sleep(${pause})
print(text, file=sys.stderr)
sys.exit(${exitCode})`;
      const spec = { ...small, image: PYTHON, command: ['python3', '-c', script], stdin: token };
      return { ...ended, kind: 'python', spec, stdout: `${hash(token)}\n`, stderr: `${token}\n` };
    }
    case 'gcc': {
      const source = `#include <stdio.h>
int main(void) { for (int i = 1; i <= ${lines}; i++) printf("${token} %d\\n", i); return ${exitCode}; }`;
      const command = ['sh', '-c', 'gcc -x c -O1 -pipe -o /tmp/program - && exec /tmp/program'];
      const spec = { memory: 256 * MIB, image: PROGRAMS, command, stdin: source };
      return { ...ended, kind: 'gcc', spec, stdout: counted };
    }
    default: {
      const script = `const { createHash } = require('node:crypto');
process.stdout.write(createHash('sha256').update(process.env.TOKEN).digest('hex') + '\\n', () => process.exit(${exitCode}));`;
      const spec = { ...small, image: NODE, command: [process.execPath, '-e', script], env: { TOKEN: token } };
      return { ...ended, kind: 'node', spec, stdout: `${hash(token)}\n` };
    }
  }
}
