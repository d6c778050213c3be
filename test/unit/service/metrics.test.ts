// The metrics of a real server: the text format of Prometheus, what is counted, and who reads them.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HOST, OwnService, send } from '../../fixtures/service.js';

const service = new OwnService();
const key = service.tenant('acme', { cpus: 2 });
service.tenant('other', { jobs: 0 });
let url: string;

beforeAll(async () => {
  url = await service.start({ metrics: { host: '127.0.0.1', port: 0 } });
});

afterAll(async () => {
  await service[Symbol.asyncDispose]();
  expect(service.faults).toEqual([]);
});

/**
 * https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4. Numbers are those
 * of Go's ParseFloat, which takes NaN in any case.
 */
const HEAD = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/;
const TYPES = ['counter', 'gauge', 'histogram', 'summary', 'untyped'];
const NUMBER = String.raw`[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|[Nn]a[Nn]`;
const LABEL = String.raw`[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"`;
const SAMPLE = new RegExp(String.raw`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:${LABEL})(?:,${LABEL})*\})? (${NUMBER})$`);

/** Reads the metrics as strictly as a server may write them. Returns the values, by series. */
async function read(): Promise<Map<string, number>> {
  const answer = await fetch(service.metricsUrl);
  expect([answer.status, answer.headers.get('Content-Type')]).toEqual([
    200,
    'text/plain; version=0.0.4; charset=utf-8',
  ]);
  const values = new Map<string, number>();
  const types = new Map<string, string>();
  const text = await answer.text();
  expect(text.endsWith('\n')).toBe(true);
  for (const line of text.split('\n').filter((line) => line !== '')) {
    const [, word, name = '', rest = ''] = HEAD.exec(line) ?? [];
    if (word === 'TYPE') {
      expect(TYPES).toContain(rest);
      expect(types.has(name)).toBe(false);
      types.set(name, rest);
    } else if (word === undefined) {
      const [, of = '', labels = '', value] = SAMPLE.exec(line) ?? [];
      expect(types.has(of.replace(/_(bucket|sum|count)$/, '')) || types.has(of), line).toBe(true);
      expect(values.has(of + labels), line).toBe(false);
      values.set(of + labels, Number(value));
    }
  }
  return values;
}

test('requests are counted by route, whatever IDs they name, and reads are none', async () => {
  for (const id of ['job-1', 'job-2']) await send(`${url}/v1/jobs/${id}`, { key });
  await send(`${url}/v1/jobs/job-3`);
  await send(`${url}/nothing`);
  await send(`${url}/else`);
  for (const method of ['Start', 'Nothing']) await fetch(`${url}/process.Process/${method}`, { method: 'POST' });
  const requests = async () => [...(await read())].filter(([name]) => name.startsWith('tsvm_http_requests_total'));
  const expected = [
    ['tsvm_http_requests_total{method="GET",route="/v1/jobs/:id",status="404"}', 2],
    ['tsvm_http_requests_total{method="GET",route="/v1/jobs/:id",status="401"}', 1],
    ['tsvm_http_requests_total{method="GET",route="none",status="404"}', 2],
    ['tsvm_http_requests_total{method="POST",route="/process.Process/Start",status="502"}', 1],
    ['tsvm_http_requests_total{method="POST",route="none",status="502"}', 1],
  ];
  expect(await requests()).toEqual(expected);
  expect(await requests()).toEqual(expected);
  expect((await read()).get('tsvm_http_request_duration_seconds_count{method="GET",route="/v1/jobs/:id"}')).toBe(3);
});

test('jobs are counted by status and by their end, and shares are told', async () => {
  const { body } = await send(`${url}/v1/jobs`, { method: 'POST', key, body: { image: 'nothing' } });
  const { id } = body as { id: string };
  const look = async () => (await send(`${url}/v1/jobs/${id}`, { key })).body as { status: string };
  while ((await look()).status !== 'ended') await sleep(20);
  expect(Object.fromEntries(await read())).toMatchObject({
    'tsvm_jobs_ended_total{tenant="acme",reason="not-started"}': 1,
    'tsvm_jobs{tenant="acme",status="queued"}': 0,
    'tsvm_jobs{tenant="other",status="running"}': 0,
    'tsvm_sandboxes{tenant="acme",status="running"}': 0,
    'tsvm_reserved_cpus{tenant="acme"}': 0,
    'tsvm_tenant_limit_cpus{tenant="acme"}': 2,
    'tsvm_tenant_limit_memory_bytes{tenant="other"}': HOST.memory,
    'tsvm_reserved_disk_bytes{tenant="acme"}': 0,
    tsvm_limit_disk_bytes: HOST.disk,
    tsvm_limit_cpus: HOST.cpus,
    tsvm_limit_memory_bytes: HOST.memory,
    nodejs_eventloop_lag_seconds: expect.any(Number),
    process_resident_memory_bytes: expect.any(Number),
  });
  service.remove('other');
  expect([...(await read()).keys()].filter((name) => name.includes('other'))).toEqual([]);
});

test('tenants do not read them, and their address has nothing else', async () => {
  expect((await send(`${url}/metrics`, { key })).status).toBe(404);
  const { origin } = new URL(service.metricsUrl);
  for (const path of ['/', '/v1/jobs', '/metrics/']) {
    expect((await fetch(origin + path, { headers: { Authorization: `Bearer ${key}` } })).status).toBe(404);
  }
  expect((await fetch(service.metricsUrl, { method: 'POST', body: 'x' })).status).toBe(404);
  expect(await (await fetch(service.metricsUrl, { method: 'HEAD' })).text()).toBe('');
});
