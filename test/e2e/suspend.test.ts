// Suspend and resume: a container continues where it stood, with its memory, its output and its
// disk; whatever goes wrong leaves it running, suspended, or ended with a reason.
import { describe, expect, test } from 'vitest';
import { DEBIAN, isLab, type Machine, machines, run, TSVM } from './machine.js';
import { script } from './script.js';

/** Each line costs a tenth of a second of the lab's CPUs. */
const COUNTS = 'i=0; while :; do echo $((i += 1)); sleep 0.5; done';

let tests = 0;

/** A name for the container of one test. Disposing of it removes the container. */
function ownContainer(machine: Machine) {
  const name = `s${process.pid}-${++tests}`;
  return {
    name,
    [Symbol.asyncDispose]: async () => {
      await run(machine, [TSVM, 'rm', '-f', name]);
    },
  };
}

describe.each(machines.filter((machine) => isLab(machine) || machine.name.endsWith('kvm')))('on $name', (machine) => {
  test('a suspended container continues twice, and no line of its output is lost or comes again', async () => {
    await using own = ownContainer(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      tsvm run -d -m 64m --name ${name} ${DEBIAN} sh -c 'echo kept > /file; ${COUNTS}' > /dev/null
      lines ${name} 3
      pid=$(tsvm inspect -f '{{.State.Pid}}' ${name})
      for cycle in 1 2; do
        tsvm suspend ${name}
        tsvm ps -a --filter name=${name} --format '{{.State}} {{.Status}}'
        ! kill -0 $pid 2> /dev/null
        before=$(count ${name})
        tsvm exec ${name} true 2>&1 | sed 's/container [0-9a-f]*/container ID/'
        tsvm start ${name} 2>&1 | sed 's/container [0-9a-f]*/container ID/'
        tsvm resume ${name}
        pid=$(tsvm inspect -f '{{.State.Pid}}' ${name})
        lines ${name} $((before + 2))
        tsvm exec ${name} cat /file
      done
      tsvm logs ${name} | awk '$1 != NR { print "line " NR " is " $1; exit }'
      tsvm resume ${name} 2>&1 | sed 's/container [0-9a-f]*/container ID/'
      tsvm events --since 1h --until 0s --filter container=${name} --format '{{.Action}}' | xargs
      tsvm kill ${name} > /dev/null
      tsvm wait ${name}
      ls $folder | xargs`,
    );
    const cycle = [
      name,
      'suspended Suspended',
      'tsvm: container ID is not running',
      'tsvm: container ID is suspended: resume or remove it first',
      name,
      'kept',
    ];
    expect(said.trimEnd().split('\n')).toEqual([
      ...cycle,
      ...cycle,
      'tsvm: container ID is running already',
      'create start suspend resume suspend resume',
      '137',
      'config.json layer.ext4 lock log.json state.json',
    ]);
  });

  test('one that is damaged stays suspended, and continues once it is whole again', async () => {
    await using own = ownContainer(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      tsvm run -d -m 64m --name ${name} ${DEBIAN} sh -c '${COUNTS}' > /dev/null
      lines ${name} 3
      tsvm suspend ${name} > /dev/null
      saved=$folder/suspended
      cp $saved/state.json /tmp/whole; truncate -s -1 $saved/state.json
      tsvm resume ${name} 2>&1 | sed 's/:.*\\/suspended/: .../'
      tsvm ps -a --filter name=${name} --format '{{.State}}'
      cp /tmp/whole $saved/state.json
      before=$(count ${name})
      tsvm resume ${name} > /dev/null
      lines ${name} $((before + 3))
      tsvm rm -f ${name} > /dev/null`,
    );
    expect(said).toMatch(/^tsvm: .*\nsuspended\n$/);
  });

  test('the image of one with --rm stays while it is suspended, and is free once it has ended', async () => {
    await using own = ownContainer(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      printf 'FROM %s\\nLABEL of=%s\\n' ${DEBIAN} ${name} | tsvm build -q -t ${name} - > /dev/null
      tsvm run -d --rm -m 64m --name ${name} ${name} sh -c '${COUNTS}' > /dev/null
      lines ${name} 2
      tsvm suspend ${name}
      tsvm rmi ${name} 2>&1 | grep -o 'being used by container'
      tsvm resume ${name}
      tsvm kill ${name} > /dev/null
      while test -e $folder; do sleep 0.2; done
      tsvm rmi ${name} | head -1`,
    );
    expect(said).toBe(`${name}\nbeing used by container\n${name}\nUntagged: ${name}:latest\n`);
  });

  test('kill -9 during suspend leaves nothing half made', async () => {
    await using own = ownContainer(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      for delay in 0.2 0.7 1.2; do
        tsvm run -d -m 64m --name ${name} ${DEBIAN} sh -c '${COUNTS}' > /dev/null
        lines ${name} 2
        supervisor=$(ps -o ppid= -p $(ps -o ppid= -p $(tsvm inspect -f '{{.State.Pid}}' ${name})))
        tsvm suspend ${name} > /dev/null 2>&1 &
        sleep $delay; kill -9 $supervisor 2> /dev/null || true
        code=0; wait $! || code=$?
        case "$code $(tsvm inspect -f '{{.State.Status}}' ${name})" in
          # A supervisor that is killed before it answers may have kept the machine.
          '0 suspended' | '125 suspended') tsvm resume ${name} > /dev/null;;
          '125 exited') tsvm start ${name} > /dev/null;;
          *) echo "suspend ended with $code, and it is $(tsvm inspect -f '{{.State.Status}}' ${name})";;
        esac
        lines ${name} 4
        ls $folder | grep suspended || true
        tsvm rm -f ${name} > /dev/null
      done`,
    );
    expect(said).toBe('');
  });
});

test.each(machines.filter(({ name }) => name.endsWith('tcg')))(
  'on $name a container cannot be suspended, and runs on',
  async (machine) => {
    await using own = ownContainer(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      tsvm run -d -m 64m --name ${name} ${DEBIAN} sh -c '${COUNTS}' > /dev/null
      lines ${name} 2
      tsvm suspend ${name} 2>&1 | sed 's/container [0-9a-f]*/container ID/'
      lines ${name} 3
      tsvm rm -f ${name} > /dev/null`,
    );
    expect(said).toBe('tsvm: container ID runs on an emulated CPU (tcg): only a machine on KVM can be suspended\n');
  },
);
