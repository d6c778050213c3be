// A container's health is checked by its image's HEALTHCHECK, as the options of its run say.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { Home } from '../../sandbox/home/home.js';
import { DEBIAN, run, TSVM, uml } from './machine.js';
import { copyStores } from './own-home.js';

const IMAGE = 'tsvm-e2e-health';
const DOCKERFILE = `FROM ${DEBIAN}
ENV OK=/ok
WORKDIR /srv
USER www-data
HEALTHCHECK --interval=300ms --retries=2 CMD id -un; pwd; test -e /tmp$OK
CMD trap "exit 7" TERM; touch /tmp/ok; while :; do sleep 0.1; done
`;
const LIVES = 'trap "exit 7" TERM; while :; do sleep 0.1; done';

/** A home whose containers are of these tests alone. */
let home: string;

beforeAll(async () => {
  home = copyStores(new Home().path, join(dirname(inject('homes').here), 'health'));
  const context = mkdtempSync('/var/tmp/tsvm-health-');
  try {
    writeFileSync(join(context, 'Dockerfile'), DOCKERFILE);
    const { code, stderr } = await run(uml, [TSVM, 'build', '-q', '-t', IMAGE, context], { env: { TSVM_HOME: home } });
    expect(code, stderr).toBe(0);
  } finally {
    rmSync(context, { recursive: true });
  }
});

afterAll(async () => {
  await run(uml, ['sh', '-c', `'${TSVM}' ps -aq | xargs -r '${TSVM}' rm -f`], { env: { TSVM_HOME: home } });
  rmSync(home, { recursive: true });
});

/** Runs a shell script in which `tsvm` is a command. Returns its output. */
async function script(text: string): Promise<string> {
  const prelude = `tsvm() { "$TSVM" "$@"; }; set -e
    health() { tsvm inspect -f "{{$2}}" $1; }
    becomes() { until test "$(health $1 .State.Health.Status)" = $2; do sleep 0.1; done; }
    `;
  const { code, stdout, stderr } = await run(uml, ['bash', '-c', prelude + text], { env: { TSVM, TSVM_HOME: home } });
  expect({ code, stderr }, stdout + stderr).toEqual({ code: 0, stderr: '' });
  return stdout;
}

test('a container turns healthy, unhealthy when its file is gone, and healthy again; ps, inspect and events tell', async () => {
  const said = await script(`
    tsvm run -d --name box ${IMAGE} > /dev/null
    becomes box healthy
    tsvm ps --filter health=healthy --format '{{.Names}} {{.Status}}' | sed 's/Up .* (/Up (/'
    tsvm exec box rm /tmp/ok
    becomes box unhealthy
    tsvm ps --filter health=unhealthy --format '{{.Names}} {{.Status}}' | sed 's/Up .* (/Up (/'
    tsvm ps --filter health=healthy -q
    test $(health box .State.Health.FailingStreak) -ge 2
    tsvm exec box touch /tmp/ok
    becomes box healthy
    until test "$(health box 'len .State.Health.Log')" = 5; do sleep 0.1; done
    health box 'json (index .State.Health.Log 4).Output'
    health box 'json .Config.Healthcheck'
    tsvm events --since 1h --until 0s --filter container=box --filter event=health_status --format '{{.Action}}'
    tsvm stop box
    health box .State.Health.Status`);
  expect(said.split('\n')).toEqual([
    'box Up (healthy)',
    'box Up (unhealthy)',
    // The container's user and working directory.
    JSON.stringify('www-data\n/srv\n'),
    JSON.stringify({
      ...{ Test: ['CMD-SHELL', 'id -un; pwd; test -e /tmp$OK'], Interval: 3e8, Timeout: 3e10 },
      ...{ StartPeriod: 0, StartInterval: 5e9, Retries: 2 },
    }),
    ...['healthy', 'unhealthy', 'healthy'].map((status) => `health_status: ${status}`),
    'box',
    'unhealthy',
    '',
  ]);
});

test('a check is killed at its timeout with what it has started, and none runs beside another', async () => {
  const said = await script(`
    # Each of its processes has the lock.
    tsvm run -d --name slow --health-interval 100ms \\
      --health-cmd 'exec 9> /tmp/lock; flock -n 9 || touch /tmp/twice; echo begun; sleep 5000; true' \\
      --health-timeout 1s --health-retries 1 ${IMAGE} > /dev/null
    becomes slow unhealthy
    until test $(health slow .State.Health.FailingStreak) -ge 3; do sleep 0.1; done
    # On a busy host, a check may be over before it has written.
    logged() { health slow 'range .State.Health.Log}}{{println (json .)}}{{end' | grep begun; }
    until logged > /dev/null; do sleep 0.1; done
    logged | sed 's/"[A-Z][a-z]*":"20[^"]*",//g' | sort -u
    tsvm exec slow test ! -e /tmp/twice
    tsvm rm -f slow`);
  const result = { ExitCode: -1, Output: 'Health check exceeded timeout (1s): begun\n' };
  expect(said.split('\n')).toEqual([JSON.stringify(result), 'slow', '']);
});

test('--no-healthcheck runs none; a container in the foreground has checks too', async () => {
  const said = await script(`
    tsvm run -d --name none --no-healthcheck ${IMAGE} > /dev/null
    tsvm inspect -f '{{json .State.Health}} {{json .Config.Healthcheck}}' none
    tsvm run --name front --health-cmd true --health-interval 100ms ${DEBIAN} sh -c '${LIVES}' &
    until tsvm ps -q --filter name=front --filter health=healthy | grep -q .; do sleep 0.1; done
    tsvm ps --filter name=none --format '{{.Status}}' | grep -c healthy || :
    tsvm ps -q --filter health=none --format '{{.Names}}'
    tsvm stop none front
    wait $! || echo $?`);
  expect(said.split('\n')).toEqual(['null null', '0', 'none', 'none', 'front', '7', '']);
});

test('a stop in the middle of a check leaves nothing', async () => {
  const said = await script(`
    tsvm run -d --name box2 --health-cmd 'touch /tmp/begun; sleep 5000' --health-interval 100ms \\
      --health-timeout 1h ${IMAGE} > /dev/null
    until tsvm exec box2 test -e /tmp/begun; do sleep 0.1; done
    machine=$(health box2 .State.Pid)
    supervisor=$(ps -o ppid= -p $(ps -o ppid= -p $machine))
    tsvm stop box2
    tsvm inspect -f '{{.State.Status}} {{.State.ExitCode}}' box2
    until ! kill -0 $supervisor 2> /dev/null; do sleep 0.1; done
    ! kill -0 $machine 2> /dev/null
    tsvm start box2
    health box2 .State.Health.Status
    tsvm rm -f box2`);
  expect(said).toBe('box2\nexited 7\nbox2\nstarting\nbox2\n');
});
