// `tsvm serve` under load: submissions, each on the disk when it is answered, into a long queue; then
// many readers of the output of jobs, some of them slow and some that go away, and what they cost the
// server and the jobs.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once, setMaxListeners } from 'node:events';
import { closeSync, fsyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { Agent, type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../errors/index.js';
import { Container } from '../../sandbox/containers/container.js';
import { Home } from '../../sandbox/home/home.js';
import { linkStores } from '../e2e/own-home.js';
import { type Benchmark, type Measurement, measurement, need } from './measurement.js';
import { CLI } from './paths.js';
import { cpuTime } from './proc.js';

/**
 * Tenants whose jobs have readers, and readers of each. A tenant has 32 streams at most: also while
 * the server has not seen yet that a quarter of them went away.
 */
const TENANTS = 9;
const READERS = 24;
const AT_ONCE = 16;
const SINGLE = 300;
const QUEUE = 10_000;
const BATCH = 100;
const SYNCS = 100;
/** Milliseconds in which there are readers, after the first ones. */
const DURATION = 600_000;
/** Parts of that time. In each, V8 collects what is over. */
const WINDOWS = 20;
const WARM = 20_000;
const PAUSE = 500;
/** A slow reader takes a chunk in so many milliseconds, which is less than comes. */
const SLOW = 4000;
/** Milliseconds that a reader which goes away stays. */
const STAY = 1000;
/** Milliseconds in which the server listens, a request is answered, a job runs, and readers end. */
const LISTENING = 60_000;
const ANSWERED = 60_000;
const RUNNING = 300_000;
const ENDED = 60_000;
const MEMORY = 96 * 2 ** 20;
/** Counts, once a second, on stdout, with 32 KB beside it. */
const SCRIPT = `text=$(printf %04000d 0); i=0
while :; do
  i=$((i+1)); echo $i
  for n in 1 2 3 4 5 6 7 8; do echo $text; done
  sleep 1
done`;
/** The most by which the server's memory may grow, in MiB a minute. */
const GOAL = 1;

const agent = new Agent({ keepAlive: true, maxSockets: 2 * TENANTS * READERS });

interface Answer {
  id: string;
  status: string;
  reason?: string;
  error?: string;
}

/** @throws Error that says what took longer than so many milliseconds */
async function within<T>(time: number, what: string, work: Promise<T>): Promise<T> {
  const late = new AbortController();
  const limit = async () => {
    await sleep(time, undefined, { signal: late.signal });
    throw new Error(`${what} took more than ${time / 1000} s`);
  };
  try {
    return await Promise.race([work, limit()]);
  } finally {
    late.abort();
  }
}

class Server implements AsyncDisposable {
  readonly #data = mkdtempSync('/var/tmp/tsvm-bench-serve-');
  readonly #tenants: string[] = [];
  #url = '';
  #child: ChildProcess | undefined;

  tenant(name: string): string {
    const share = ['--cpus', '1000', '--memory', '1t', '--disk', '100t', '--jobs', '1000000', '--rate', 'none'];
    const key = execFileSync(CLI, ['tenant', 'add', '--data', this.#data, ...share, name], { encoding: 'utf8' });
    linkStores(this.#home(name).path);
    this.#tenants.push(name);
    return key.trim();
  }

  #home(tenant: string): Home {
    return new Home(`${this.#data}/tenants/${tenant}`);
  }

  /** @param cpus of all jobs together */
  async start(cpus: number): Promise<void> {
    const accel = process.env.TSVM_ACCEL === 'kvm' ? 'kvm' : 'uml';
    const words = ['--data', this.#data, '--listen', '127.0.0.1:0', '--cpus', String(cpus), '--accel', accel];
    const child = spawn(CLI, ['serve', ...words, '--memory', '1t', '--disk', '100t'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child = child;
    const ended = once(child, 'exit').then(([code]) => {
      throw new Error(`the server ended with ${code}`);
    });
    const line = once(createInterface({ input: child.stdout }), 'line');
    // It ends when the benchmark does, too.
    ended.catch(() => {});
    const [first] = await within(LISTENING, 'the start of the server', Promise.race([line, ended]));
    this.#url = String(first).replace('listening on ', '');
  }

  get pid(): number {
    return need(this.#child?.pid, 'server');
  }

  get data(): string {
    return this.#data;
  }

  /** MiB of the server. */
  get memory(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'latin1');
    return Number(need(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1], 'VmRSS')) / 1024;
  }

  async open(key: string, method: string, path: string, body?: object): Promise<IncomingMessage> {
    const text = body === undefined ? '' : JSON.stringify(body);
    const headers = {
      Authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }),
    };
    const sent = request(`${this.#url}/v1/jobs${path}`, { method, headers, agent }).end(text);
    try {
      const response = once(sent, 'response') as Promise<[IncomingMessage]>;
      const [answer] = await within(ANSWERED, `the answer to ${method} ${path}`, response);
      return answer;
    } catch (error) {
      sent.destroy();
      throw error;
    }
  }

  /** @throws Error unless it is answered with 2xx */
  async call(key: string, method: string, path: string, body?: object): Promise<Answer> {
    const answer = await this.open(key, method, path, body);
    const record = (await within(ANSWERED, `the body of ${method} ${path}`, json(answer))) as Answer;
    if (Math.floor((answer.statusCode ?? 0) / 100) !== 2) throw new Error(JSON.stringify(record));
    return record;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    agent.destroy();
    if (this.#child?.exitCode === null && this.#child.signalCode === null) {
      const exit = once(this.#child, 'exit');
      this.#child.kill('SIGKILL');
      await exit;
    }
    for (const tenant of this.#tenants) {
      for (const { config } of Container.list(this.#home(tenant))) {
        await Container.find(this.#home(tenant), config.id).remove({ force: true });
      }
    }
    rmSync(this.#data, { recursive: true, force: true });
  }
}

/** Times `count` pieces of work, `width` at once. Returns how many there are in a second. */
async function rate(count: number, width: number, act: () => Promise<unknown>): Promise<number> {
  let left = count;
  const start = performance.now();
  const work = async () => {
    while (left-- > 0) await act();
  };
  await Promise.all(Array.from({ length: width }, work));
  return (count * 1000) / (performance.now() - start);
}

/** Writes of a page, each of which is on the disk before the next one, in a second. */
function syncs(folder: string): number {
  const path = `${folder}/sync`;
  const fd = openSync(path, 'w');
  const page = Buffer.alloc(4096, 1);
  const start = performance.now();
  for (let n = 0; n < SYNCS; n++) {
    writeSync(fd, page);
    fsyncSync(fd);
  }
  const time = performance.now() - start;
  closeSync(fd);
  rmSync(path);
  return (SYNCS * 1000) / time;
}

type Manner = 'fast' | 'slow' | 'leaving';

/** Reads the events of a job until `signal` is aborted. Returns how often it asked. */
async function readEvents(server: Server, key: string, id: string, manner: Manner, signal: AbortSignal) {
  let opened = 0;
  while (!signal.aborted) {
    const answer = await server.open(key, 'GET', `/${id}/events`);
    opened++;
    if (answer.statusCode !== 200) throw new Error(`a reader was answered with ${answer.statusCode}`);
    const end = () => answer.destroy();
    signal.addEventListener('abort', end);
    // It was aborted while the server answered.
    if (signal.aborted) end();
    try {
      if (manner === 'leaving') {
        answer.resume();
        await sleep(STAY, undefined, { signal });
        continue;
      }
      for await (const _ of answer) if (manner === 'slow') await sleep(SLOW, undefined, { signal });
    } catch (error) {
      // Its end is ours, or it was too slow for the server.
      if (!signal.aborted && manner !== 'slow') throw error;
    } finally {
      signal.removeEventListener('abort', end);
      end();
    }
  }
  return opened;
}

/** The count that a job has reached. */
async function countOf(server: Server, { key, id }: { key: string; id: string }): Promise<number> {
  const answer = await server.open(key, 'GET', `/${id}/output`);
  let count = 0;
  for await (const line of createInterface({ input: answer })) {
    const { log } = JSON.parse(line) as { log: string };
    if (/^\d{1,9}\n$/.test(log)) count = Number(log);
  }
  return count;
}

/** The lowest point of each of so many milliseconds. */
function lowest(points: readonly [milliseconds: number, value: number][], length: number): [number, number][] {
  const found: [number, number][] = [];
  for (const point of points) {
    const window = Math.floor(point[0] / length);
    if (point[1] < (found[window]?.[1] ?? Infinity)) found[window] = point;
  }
  return found.filter((point) => point !== undefined);
}

/** The slope of the line through the points that is nearest to them, for each minute. */
function slope(points: readonly [milliseconds: number, value: number][]): number {
  const mean = (pick: (point: readonly [number, number]) => number) =>
    points.reduce((sum, point) => sum + pick(point), 0) / points.length;
  const [time, value] = [mean(([each]) => each), mean(([, each]) => each)];
  const over = mean(([at, each]) => (at - time) * (each - value));
  return (60_000 * over) / mean(([at]) => (at - time) ** 2);
}

const MANNERS: readonly Manner[] = ['fast', 'fast', 'slow', 'leaving'];

async function measureSubmissions(server: Server, key: string, scale: number): Promise<Measurement[]> {
  const spec = { image: 'debian:12', memory: MEMORY, command: ['true'] };
  const single = () => server.call(key, 'POST', '', spec);
  const [few, queue] = [Math.ceil(SINGLE * scale), Math.ceil(QUEUE * scale)];
  const disk = syncs(server.data);
  const one = await rate(few, 1, single);
  const many = await rate(few, AT_ONCE, single);
  const batch = { jobs: Array.from({ length: BATCH }, () => spec) };
  const batches = await rate(Math.ceil(queue / BATCH), 1, () => server.call(key, 'POST', '/batch', batch));
  const late = await rate(few, 1, single);
  const lists = await rate(few, 1, () => server.call(key, 'GET', '?limit=100'));
  return [
    measurement('writes of a page by fsync', '1/s', [disk]),
    measurement('submissions, one at a time', '1/s', [one]),
    measurement('submissions, one at a time / writes by fsync', 'ratio', [one / disk]),
    measurement(`submissions, ${AT_ONCE} at once`, '1/s', [many]),
    measurement(`jobs, in batches of ${BATCH}`, '1/s', [batches * BATCH]),
    measurement(`submissions into a queue of ${queue}, one at a time`, '1/s', [late]),
    measurement(`submissions into a queue of ${queue} / into a short one`, 'ratio', [late / one]),
    measurement(`lists of 100 jobs of a queue of ${queue}`, '1/s', [lists]),
  ];
}

export const serve: Benchmark = {
  name: 'serve',
  title: 'tsvm serve: submissions that are on the disk, a long queue, and readers of output',
  needsKvm: false,
  async measure({ scale, image }) {
    await using server = new Server();
    const keys = Array.from({ length: Math.ceil(TENANTS * scale) }, (_, n) => server.tenant(`t${n}`));
    const alone = server.tenant('alone');
    const queued = server.tenant('queued');
    // These jobs take all CPUs, so what is queued behind them stays there.
    await server.start(keys.length + 1);
    const run = async (key: string) => {
      const spec = { image, memory: MEMORY, command: ['sh', '-c', SCRIPT], timeout: 86_400_000 };
      const { id } = await server.call(key, 'POST', '', spec);
      for (const start = performance.now(); ; await sleep(PAUSE)) {
        const { status, reason, error } = await server.call(key, 'GET', `/${id}`);
        if (status === 'running') return { key, id };
        if (status === 'ended') throw new Error(`a job ended as ${reason}: ${error}`);
        if (performance.now() - start > RUNNING) throw new Error(`a job is ${status} after ${RUNNING / 1000} s`);
      }
    };
    process.stderr.write('  jobs start\n');
    const unread = await run(alone);
    const jobs: (typeof unread)[] = [];
    for (const key of keys) jobs.push(await run(key));
    process.stderr.write('  submissions\n');
    const submissions = await measureSubmissions(server, queued, scale);

    process.stderr.write('  readers\n');
    const over = new AbortController();
    setMaxListeners(0, over.signal);
    const readers = jobs.flatMap(({ key, id }) =>
      Array.from({ length: READERS }, (_, n) =>
        readEvents(server, key, id, MANNERS[n % MANNERS.length] ?? 'fast', over.signal),
      ),
    );
    const reading = Promise.all(readers);
    // A failure of one ends the benchmark.
    let failure: string | undefined;
    reading.catch((error: unknown) => {
      failure = messageOf(error);
    });
    await sleep(WARM * scale);
    const counts = () =>
      within(ANSWERED, 'the output of jobs', Promise.all([...jobs, unread].map((job) => countOf(server, job))));
    const before = await counts();
    const [start, cpu] = [performance.now(), cpuTime(server.pid)];
    const memory: [number, number][] = [];
    while (performance.now() - start < DURATION * scale) {
      if (failure !== undefined) throw new Error(failure);
      memory.push([performance.now() - start, server.memory]);
      await sleep(PAUSE);
    }
    const used = (cpuTime(server.pid) - cpu) / (performance.now() - start);
    const after = await counts();
    process.stderr.write('  the readers go\n');
    over.abort();
    const opened = await within(ENDED, 'the end of the readers', reading);
    const turns = after.map((count, index) => count - (before[index] ?? 0));
    const free = need(turns.pop(), 'job without readers');
    if (free === 0) throw new Error('the job without readers did not count');
    const held = memory.map(([, value]) => value);
    const growth = slope(lowest(memory, (DURATION * scale) / WINDOWS));
    return [
      ...submissions,
      measurement('readers at once', 'count', [readers.length]),
      measurement('streams that they opened', 'count', [opened.reduce((sum, each) => sum + each, 0)]),
      measurement('memory of the server beside readers', 'MiB', held),
      {
        ...measurement('growth of its memory in a minute', 'MiB', [growth]),
        goal: GOAL,
      },
      measurement('CPUs of the server beside readers', 'ratio', [used]),
      measurement(
        `turns of a job with ${READERS} readers / of one without`,
        'ratio',
        turns.map((each) => each / free),
      ),
    ];
  },
};
