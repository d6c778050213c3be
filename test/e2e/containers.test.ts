// The life of a container: background and foreground, pause, copy, commit, kill, remove.
import { describe, expect, test } from 'vitest';
import { DEBIAN, fastest, isUml, type Machine, machines, type RunOptions, readUntil, run, TSVM } from './machine.js';

const LIVES = 'trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.1; done';
const COUNTS = 'i=0; while :; do echo $((i += 1)); sleep 0.1; done';

/** Runs a shell script in which `tsvm` is a command. Returns its output. */
async function script(machine: Machine, text: string, options: RunOptions = {}): Promise<string> {
  const env = { TSVM, XDG_RUNTIME_DIR: '', ...options.env };
  const prelude = 'tsvm() { "$TSVM" "$@"; }; set -e; ';
  const { code, stdout, stderr } = await run(machine, ['bash', '-c', prelude + text], { ...options, env });
  expect({ code, stderr }, stdout + stderr).toEqual({ code: 0, stderr: '' });
  return stdout;
}

/** Names for containers of one test. Disposing of it removes the containers. */
function ownContainers(machine: Machine) {
  const name = `t${process.pid}-${++tests}`;
  return {
    name,
    [Symbol.asyncDispose]: async () => {
      await run(machine, ['sh', '-c', `'${TSVM}' ps -aq --filter name=${name} | xargs -r '${TSVM}' rm -f`]);
    },
  };
}
let tests = 0;

/** The signal that stops the processes of User-Mode Linux would reach the guest's programs. */
async function expectNoPause(machine: Machine, name: string): Promise<void> {
  await script(machine, `tsvm run -d --name ${name} ${DEBIAN} sleep 1000 > /dev/null`);
  expect(await run(machine, [TSVM, 'pause', name])).toEqual({
    code: 125,
    stdout: '',
    stderr: expect.stringMatching(
      /^tsvm: container [0-9a-f]{12} runs on uml, which cannot be paused: kvm and tcg can\n$/,
    ),
  });
}

describe.each(machines)('on $name', (machine) => {
  test('kill -9 of a machine or a supervisor is reported, and stops nothing else', async () => {
    await using own = ownContainers(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      tsvm run -d --name ${name}-one ${DEBIAN} sleep 1000 > /dev/null
      tsvm run -d --name ${name}-two ${DEBIAN} sleep 1000 > /dev/null
      machine=$(tsvm inspect -f '{{.State.Pid}}' ${name}-one)
      kill -9 $machine
      tsvm wait ${name}-one
      machine=$(tsvm inspect -f '{{.State.Pid}}' ${name}-two)
      supervisor=$(ps -o ppid= -p $(ps -o ppid= -p $machine))
      kill -9 $supervisor
      until ! kill -0 $machine 2> /dev/null; do sleep 0.1; done
      tsvm inspect -f '{{.State.Status}} {{.State.ExitCode}}' ${name}-one ${name}-two
      tsvm exec ${name}-two true 2>&1 || echo "exec $?"
      tsvm start ${name}-two
      tsvm rm -f ${name}-one ${name}-two > /dev/null`,
    );
    expect(said).toMatch(
      new RegExp(
        `^255\\nexited 255\\nexited 255\\ntsvm: container [0-9a-f]{12} is not running\\nexec 125\\n${name}-two\\n$`,
      ),
    );
  });

  test('a paused container stands still', async () => {
    await using own = ownContainers(machine);
    const { name } = own;
    if (isUml(machine)) return await expectNoPause(machine, `${name}-still`);
    const said = await script(
      machine,
      `
      tsvm run -d --name ${name}-still ${DEBIAN} sh -c '${COUNTS}' > /dev/null
      log=$(tsvm inspect -f '{{.LogPath}}' ${name}-still)
      until test -s $log; do sleep 0.1; done
      tsvm pause ${name}-still
      # What it said before that may still be on its way.
      sleep 1; before=$(wc -c < $log); sleep 2; test $before = $(wc -c < $log)
      tsvm unpause ${name}-still
      until test $(wc -c < $log) -gt $before; do sleep 0.1; done`,
    );
    expect(said).toBe(`${name}-still\n${name}-still\n`);
  });
});

describe.each(fastest)('on $name', (machine) => {
  test('ps, exec, top, stats and events report on a container that is paused and goes on', async () => {
    await using own = ownContainers(machine);
    const { name } = own;
    if (isUml(machine)) return await expectNoPause(machine, `${name}-still`);
    const said = await script(
      machine,
      `
      tsvm run -d --name ${name}-still ${DEBIAN} sh -c '${COUNTS}' > /dev/null
      tsvm pause ${name}-still > /dev/null
      tsvm ps --format '{{.State}}' --filter name=${name}-still
      tsvm exec ${name}-still true 2> /dev/null || echo "exec $?"
      tsvm stats -a --no-stream --format '{{.Name}} {{.PIDs}}' | grep '^${name}-still'
      tsvm unpause ${name}-still > /dev/null
      tsvm top ${name}-still | grep -c 'sh -c'
      tsvm stats --no-stream --format '{{.Name}} {{.PIDs}}' ${name}-still | grep -oE '^${name}-still [12]$' | cut -d' ' -f1
      tsvm events --since 1h --until 0s --filter container=${name}-still --format '{{.Action}}' | tr '\\n' ' '; echo
      tsvm rm -f ${name}-still > /dev/null`,
    );
    expect(said).toBe(
      ['paused', 'exec 125', `${name}-still --`, '1', `${name}-still`, 'create start pause unpause ', ''].join('\n'),
    );
  });

  test('a background container takes exec, stops, starts again with its files, and is removed', async () => {
    await using own = ownContainers(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      id=$(tsvm run -d --name ${name}-life --label test=1 ${DEBIAN} sh -c '${LIVES}')
      test \${#id} = 64
      tsvm ps --filter id=$id --format '{{.Names}} {{.Image}} {{.State}}'
      tsvm exec ${name}-life sh -c 'echo out; echo err >&2; exit 5' 2>&1 || echo "exec $?"
      echo typed | tsvm exec -i -u nobody -w /tmp -e A=b ${name}-life sh -c 'cat; id -un; pwd; echo $A'
      tsvm exec -d ${name}-life sh -c 'echo kept > /kept'
      tsvm exec ${name}-life sh -c 'until test -s /kept; do sleep 0.1; done'
      tsvm exec ${name}-life nosuchcommand 2>/dev/null || echo "exec $?"
      until tsvm logs ${name}-life | grep -q up; do sleep 0.1; done
      tsvm stop \${id:0:12} > /dev/null
      tsvm logs ${name}-life
      tsvm inspect -f '{{.State.Status}} {{.State.ExitCode}} {{index .Config.Labels "test"}}' ${name}-life
      tsvm start ${name}-life > /dev/null
      tsvm exec ${name}-life cat /kept
      tsvm kill ${name}-life > /dev/null
      tsvm wait ${name}-life
      tsvm rm ${name}-life
      tsvm ps -aq --filter id=$id`,
    );
    expect(said).toBe(
      [
        `${name}-life ${DEBIAN} running`,
        ...['out', 'err', 'exec 5', 'typed', 'nobody', '/tmp', 'b', 'exec 127'],
        ...['up', 'bye', 'exited 7 1', 'kept', '137', `${name}-life`, ''],
      ].join('\n'),
    );
  });

  test('start -a of a created container shows its output and exits with its code', async () => {
    await using own = ownContainers(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      work=$(mktemp -d)
      id=$(tsvm create --cidfile $work/id --name ${name}-job ${DEBIAN} sh -c 'echo one; echo two >&2; exit 3')
      test $id = $(cat $work/id)
      tsvm create --cidfile $work/id ${DEBIAN} true 2> /dev/null || echo "create $?"; rm -r $work
      tsvm start -a ${name}-job 2>&1 || echo "exit $?"
      tsvm logs --tail 1 ${name}-job 2>&1
      tsvm rename ${name}-job ${name}-old
      tsvm ps -as --filter name=${name}-old | grep -qE 'SIZE$|[0-9]B *$' && echo sized
      tsvm ps -a --filter name=${name}-old --format '{{.Status}}' | sed 's/ *[0-9a-z ]*$//'
      tsvm rm ${name}-old > /dev/null`,
    );
    expect(said).toBe('create 125\none\ntwo\nexit 3\ntwo\nsized\nExited (3)\n');
  });

  test('a container with --rm has the disk of any other, before its start and over a restart', async () => {
    await using own = ownContainers(machine);
    const { name } = own;
    const writes =
      'dd if=/dev/zero of=/direct oflag=direct bs=64k count=4 2> /dev/null; ' +
      'perl -e "exit syscall(188, my \\$file = q(/direct), my \\$name = q(user.a), my \\$value = q(b), 1, 0)" && ' +
      'echo $(stat -c %s /direct) $(cat /before) $(ls /during 2> /dev/null); touch /during; exec sleep 1000';
    const said = await script(
      machine,
      `
      tsvm create --rm --name ${name}-disk ${DEBIAN} sh -c '${writes}' > /dev/null
      file=$(mktemp); echo early > $file; tsvm cp $file ${name}-disk:/before; rm $file
      said() { until [ "$(tsvm logs ${name}-disk 2> /dev/null | wc -l)" = $1 ]; do sleep 0.1; done; }
      tsvm start ${name}-disk; said 1
      tsvm restart -t 1 ${name}-disk; said 2
      tsvm logs ${name}-disk
      tsvm stop -t 1 ${name}-disk
      tsvm ps -aq --filter name=${name}-disk
      tsvm run --disk memory ${DEBIAN} true 2>&1 || echo "run $?"
      tsvm run --rm --disk memory ${DEBIAN} sh -c '
        set -- $(df --output=source,size / | tail -1) $(grep MemTotal /proc/meminfo)
        # A tmpfs takes half of the pages.
        echo $1 $(($2 - $4 / 8 * 4))' 2> /dev/null`,
    );
    const [disk, restarted] = [`262144 early`, `262144 early /during`];
    expect(said).toBe(
      [
        ...[`${name}-disk`, `${name}-disk`, disk, restarted, `${name}-disk`],
        'tsvm: conflicting options: a layer in memory is lost at each end: add --rm',
        'run 125',
        'overlay 0',
        '',
      ].join('\n'),
    );
  });

  test('--rm leaves nothing; a command that is not found leaves a container with the error', async () => {
    await using own = ownContainers(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      tsvm run -d --rm --name ${name}-gone ${DEBIAN} sleep 0.1 > /dev/null
      tsvm wait ${name}-gone 2> /dev/null || true
      until test -z "$(tsvm ps -aq --filter name=${name}-gone)"; do sleep 0.1; done
      tsvm run -d --rm --name ${name}-end ${DEBIAN} sleep 1000 > /dev/null
      tsvm rm -f ${name}-end
      tsvm ps -aq --filter name=${name}-end
      tsvm run -d --name ${name}-bad ${DEBIAN} nosuchcommand 2> /dev/null || echo "run $?"
      tsvm inspect -f '{{.State.Status}} {{.State.ExitCode}}' ${name}-bad
      tsvm rm ${name}-bad > /dev/null`,
    );
    expect(said.replace(/^0\n/, '')).toBe(`${name}-end\nrun 127\ncreated 127\n`);
  });

  test('a foreground container takes exec and stop, and is kept, like any other', async () => {
    await using own = ownContainers(machine);
    const { name } = own;
    const env = { XDG_RUNTIME_DIR: '' };
    const command = machine.spawn([TSVM, 'run', '--name', `${name}-front`, DEBIAN, 'sh', '-c', LIVES], { env });
    await readUntil(command.stdout, 'up');
    const said = await script(machine, `tsvm exec ${name}-front echo inside; tsvm stop ${name}-front`);
    expect(said).toBe(`inside\n${name}-front\n`);
    expect(await command.exit).toBe(7);
    const after = `tsvm logs ${name}-front; tsvm rm ${name}-front`;
    expect(await script(machine, after)).toBe(`up\nbye\n${name}-front\n`);
  });

  test('cp works on running and stopped containers, and commit makes an image of the writes', async () => {
    await using own = ownContainers(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      work=$(mktemp -d); cd "$work"; mkdir -p src/sub; echo one > src/a; ln -s a src/link; chmod 750 src/sub
      tsvm run -d --name ${name}-files ${DEBIAN} sh -c 'rm /etc/issue; mkdir /out; echo made > /out/made; ${LIVES}' > /dev/null
      tsvm start ${name}-files | sed 's/.*-//'
      until tsvm logs ${name}-files | grep -q up; do sleep 0.1; done
      if tsvm pause ${name}-files > $work/paused 2>&1; then
        tsvm start ${name}-files 2>&1 | sed 's/container [0-9a-f]*/container ID/'; tsvm unpause ${name}-files > /dev/null
      else sed 's/container [0-9a-f]*/container ID/' $work/paused; fi
      tsvm cp src ${name}-files:/srv
      tsvm exec ${name}-files sh -c 'cat /srv/src/link; stat -c "%a %U" /srv/src/sub'
      tsvm stop ${name}-files > /dev/null
      tsvm cp ${name}-files:/out copied; cat copied/made
      echo two | tee b | tsvm cp b ${name}-files:/srv/src/b
      tsvm diff ${name}-files | grep -E '^. /(etc/issue|out/made|srv/src/b)$'
      tsvm cp b ${name}-files:/srv/src/link; tsvm cp ${name}-files:/srv/src/a -  | tar -xO
      tsvm cp ${name}-files:/srv/src - | tar -t | sort | tr '\\n' ' '; echo
      tsvm cp ${name}-files:/none . 2>&1 || echo "cp $?"
      tsvm cp ${name}-files:/dev/null . 2>&1 || echo "cp $?"
      tsvm cp ${name}-files:/etc/passwd /proc/self/x 2>&1 || echo "cp $?"
      mkdir full; unshare -m bash -c 'mount -t tmpfs -o size=64k none full
        "$TSVM" cp ${name}-files:/usr/bin/perl full/ 2>&1 || echo "cp $?"; ls -A full' | sed "s#$work#WORK#"
      tsvm commit -c 'CMD ["cat", "/srv/src/b"]' ${name}-files ${name}-image:1 > /dev/null
      tsvm run --rm ${name}-image:1
      tsvm rm ${name}-files > /dev/null; tsvm rmi ${name}-image:1 > /dev/null; rm -r "$work"`,
    );
    expect(said).toBe(
      [
        'files',
        `tsvm: container ID ${isUml(machine) ? 'runs on uml, which cannot be paused: kvm and tcg can' : 'is paused: unpause it first'}`,
        ...['one', '750 root', 'made', 'D /etc/issue', 'A /out/made', 'A /srv/src/b'],
        'two',
        'src/ src/a src/b src/link src/sub/ ',
        ...['tsvm: /none: No such file or directory', 'cp 125'],
        ...['tsvm: cannot copy /dev/null to the host: it is a device', 'cp 125'],
        ...["tsvm: ENOENT: no such file or directory, mkdtemp '/proc/self/.tsvm-cp-XXXXXX'", 'cp 125'],
        ...['tsvm: WORK/full: ENOSPC: no space left on device, write', 'cp 125', 'two', ''],
      ].join('\n'),
    );
  });
});
