// Snapshots and forks: a clone continues what ran, and shares no identity, address or random number
// with another one or with what it comes from, from the first bytes that it reads.
import { describe, expect, test } from 'vitest';
import { DEBIAN, isLab, type Machine, machines, run, TSVM } from './machine.js';
import { quoted, script as runScript } from './script.js';

/** Counts, and writes random bytes with each number, without a new process: four such machines run. */
const COUNTS = `echo 0123456789abcdef0123456789abcdef > /etc/machine-id; echo before > /before
  exec perl -e '$| = 1; for (;; select undef, undef, undef, 0.5) {
    syscall(318, $b = chr(0) x 16, 16, 0) == 16 or die; print ++$i, " ", unpack("H*", $b), "\\n" }'`;

/** What no two machines may have in common: one line each. */
const IDENTITY = [
  'hostname',
  'cat /proc/sys/kernel/random/boot_id /etc/machine-id /dev/tsvm/generation /proc/sys/kernel/random/uuid',
  "head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '",
  'perl -e \'syscall(318, $b = chr(0) x 16, 16, 0) == 16 or die; print unpack("H*", $b), "\\n"\'',
  'cat /sys/class/net/eth0/address',
  'hostname -i',
].join('; ');

async function script(machine: Machine, text: string): Promise<string[]> {
  return (await runScript(machine, text)).trimEnd().split('\n');
}

/** Names for the containers of one test, and its snapshot. Disposing of it removes them. */
function ownName(machine: Machine) {
  const name = `n${process.pid}`;
  const containers = `'${TSVM}' ps -aq --filter label=${name} | xargs -r '${TSVM}' rm -f`;
  const clean = `${containers}; test -z "$(ls -A $TSVM_HOME/snapshots)" || '${TSVM}' snapshot rm -f ${name}`;
  return {
    name,
    [Symbol.asyncDispose]: async () => {
      await run(machine, ['sh', '-c', clean]);
    },
  };
}

describe.each(machines.filter((machine) => isLab(machine) || machine.name.endsWith('kvm')))('on $name', (machine) => {
  test('two clones of a snapshot and a fork are four different machines that continue one', async () => {
    await using own = ownName(machine);
    const { name } = own;
    const source = `${name}-source`;
    const said = await script(
      machine,
      `
      tsvm run -d --name ${source} --label ${name} -m 64m --disk 32m ${DEBIAN} sh -c ${quoted(COUNTS)} > /dev/null
      lines ${source} 2
      tsvm snapshot create ${source} ${name}
      tsvm snapshot ls -q
      before=$(count ${source})
      tsvm exec ${source} sh -c 'echo after > /after'
      tsvm run -d --snapshot ${name} --name ${name}-1 > /dev/null
      tsvm run -d --snapshot ${name} --name ${name}-2 > /dev/null
      tsvm snapshot rm ${name}
      tsvm snapshot ls -q
      fork=$(tsvm fork ${source})
      lines ${source} $((before + 2))
      for each in ${name}-1 ${name}-2 ${source} $fork; do
        lines $each 2
        echo ==
        said $each | sed -n 2,3p
        tsvm exec $each bash -c ${quoted(`echo $(cat /before; cat /after 2>&1); ${IDENTITY}`)}
      done
      tsvm rm -f $fork > /dev/null
      tsvm ps -a --filter name=${name} --format '{{.State}}'
      folder_of ${source}
      ls -A $folder/../../snapshots | grep -c . || true`,
    );
    const [created, listed, removed, ...rest] = said;
    expect([created, listed, removed]).toEqual([name, name, name]);
    expect(rest.slice(-4)).toEqual(['running', 'running', 'running', '0']);
    const parts = rest
      .slice(0, -4)
      .join('\n')
      .split('==\n')
      .slice(1)
      .map((part) => part.trimEnd().split('\n'));
    expect(parts.map(([, , files]) => files)).toEqual([
      expect.stringMatching(/^before cat: .*No such file/),
      expect.stringMatching(/^before cat: .*No such file/),
      'before after',
      'before after',
    ]);
    // The clones count on from where the snapshot was taken. Their first line may have bytes that were
    // read before.
    const second = parts.map(([line = '']) => Number(line.split(' ')[0]));
    expect(second[2]).toBe(2);
    for (const clone of [0, 1, 3]) expect(second[clone]).toBeGreaterThan(3);
    const random = parts.flatMap(([one = '', two = '']) => [one.split(' ')[1], two.split(' ')[1]]);
    expect(new Set(random).size).toBe(8);
    // A row for each of the machines' identities.
    const identities = parts.map((part) => part.slice(3));
    expect(identities[0]).toHaveLength(9);
    for (let row = 0; row < 9; row++) {
      const values = identities.map((identity) => identity[row]);
      expect(new Set(values).size, `row ${row}: ${values.join(', ')}`).toBe(4);
      for (const value of values) expect(value).toMatch(/\S/);
    }
  });

  test('a container starts from its checkpoint, with that memory and disk; a damaged one changes nothing', async () => {
    await using own = ownName(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      tsvm run -d --name ${name} --label ${name} -m 64m --disk 32m ${DEBIAN} sh -c ${quoted(COUNTS)} > /dev/null
      log=$(tsvm inspect -f '{{.LogPath}}' ${name}); disk=$(dirname $log)/layer.ext4
      counted() { until test $(cat $log 2> /dev/null | wc -l) -gt $1; do sleep 0.5; done; }
      counted 2
      tsvm checkpoint create --leave-running ${name} ${name}
      tsvm exec ${name} sh -c 'echo after > /after'
      tsvm start --checkpoint ${name} ${name} 2>&1 | sed 's/container [0-9a-f]*/container ID/'
      tsvm checkpoint create ${name} ${name}-2
      tsvm inspect -f '{{.State.Status}} {{.State.ExitCode}}' ${name}
      tsvm checkpoint ls ${name}
      saved=$(readlink -f $(dirname $log)/../../snapshots/${name}-2)/machine/state.json
      chmod 600 $saved; truncate -s -1 $saved; sum=$(cksum $disk)
      tsvm start --checkpoint ${name}-2 ${name} 2>&1 | sed 's/ damaged: .*/ damaged/'
      test "$sum" = "$(cksum $disk)"
      tsvm checkpoint rm ${name} ${name}-2
      before=$(wc -l < $log)
      tsvm start --checkpoint ${name} ${name}
      counted $((before + 2))
      tsvm exec ${name} sh -c 'cat /before; cat /after 2>&1' | xargs
      tsvm logs ${name} | sed -n "$before,$((before + 1))p"`,
    );
    expect(said.slice(0, -2)).toEqual([
      name,
      'tsvm: container ID is running already: stop it first',
      `${name}-2`,
      'exited 137',
      'CHECKPOINT NAME',
      name,
      `${name}-2`,
      'tsvm: the saved machine is damaged',
      name,
      expect.stringMatching(/^before cat: .*No such file/),
    ]);
    // It counts on from the checkpoint, and has forgotten what it counted since.
    const [last = 0, next = 0] = said.slice(-2).map((line) => Number(line.split(' ')[0]));
    expect(next).toBeGreaterThan(2);
    expect(next).toBeLessThanOrEqual(last);
  });

  test('a running container goes back to a snapshot, and one that is damaged changes nothing', async () => {
    await using own = ownName(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      tsvm run -d --name ${name} --label ${name} -p 80 -m 64m --disk 32m ${DEBIAN} sh -c '${COUNTS.replaceAll("'", "'\\''")}' > /dev/null
      log=$(tsvm inspect -f '{{.LogPath}}' ${name}); folder=$(dirname $log)
      counted() { until test $(cat $log 2> /dev/null | wc -l) -gt $1; do sleep 0.5; done; }
      about() { tsvm inspect -f '{{.State.Status}} {{len .NetworkSettings.Ports}} {{.RestartCount}} {{.State.Pid}}' ${name}; }
      counted 2
      tsvm snapshot create ${name} ${name} > /dev/null
      tsvm exec ${name} bash -c 'echo after > /after; ${IDENTITY.replaceAll("'", "'\\''")}'
      tsvm wait ${name} > /dev/null 2>&1 & waiter=$!
      saved=$(readlink -f $folder/../../snapshots/${name})/machine/state.json
      chmod 600 $saved; truncate -s -1 $saved
      before=$(about)
      tsvm rollback ${name} ${name} 2>&1 | sed 's/ damaged: .*/ damaged/'
      test "$before" = "$(about)" && echo unchanged
      printf } >> $saved
      tsvm rollback ${name} ${name}
      kill -0 $waiter
      about | sed 's/ [^ ]*$//'
      counted $(($(wc -l < $log) + 2))
      tsvm exec ${name} bash -c 'cat /before; cat /after 2>&1; ${IDENTITY.replaceAll("'", "'\\''")}'
      sed 's/.*"log":"//; s/ .*//' $log | awk '$1 + 0 <= last { print "back to", $1 } { last = $1 }'
      tsvm events --since 1h --until 0s --filter container=$(basename $folder) --format '{{.Action}}' | xargs
      tsvm kill ${name} > /dev/null`,
    );
    const [first, rest] = [said.slice(0, 9), said.slice(9)];
    expect(rest.slice(0, 5)).toEqual([
      'tsvm: the saved machine is damaged',
      'unchanged',
      name,
      'running 1 0',
      'before',
    ]);
    expect(rest[5]).toMatch(/No such file/);
    // Host name and addresses are those of its ID. All else is another's.
    const second = rest.slice(6, 15);
    for (let row = 0; row < 9; row++) {
      if ([0, 7, 8].includes(row)) expect(second[row]).toBe(first[row]);
      else expect(second[row], `row ${row}`).not.toBe(first[row]);
    }
    expect(rest[15]).toMatch(/^back to ([3-9]|\d\d+)$/);
    expect(rest.slice(16)).toEqual(['create start snapshot die rollback']);
  });

  test('a suspended container goes back to a snapshot', async () => {
    await using own = ownName(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      tsvm run -d --name ${name} --label ${name} -m 64m --disk 32m ${DEBIAN} sh -c 'echo before | tee /file; exec sleep 1d' > /dev/null
      lines ${name} 0
      tsvm snapshot create ${name} ${name} > /dev/null
      tsvm exec ${name} sh -c 'echo after > /file'
      tsvm suspend ${name}
      ls $folder/suspended | wc -l
      tsvm rollback ${name} ${name}
      ls $folder | grep -c suspended || true
      tsvm exec ${name} cat /file
      tsvm events --since 1h --until 0s --filter container=$(basename $folder) --format '{{.Action}}' | xargs`,
    );
    expect(said).toEqual([name, '3', name, '0', 'before', 'create start snapshot suspend rollback']);
  });

  test('on a full disk nothing is half made, and the container runs on', async () => {
    await using own = ownName(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      # A home of its own on a small disk, with the images of the other one.
      home=$TSVM_HOME small=$TSVM_HOME/../${name}; mkdir $small
      trap "rm -r $small $small.sh" EXIT
      cat > $small.sh <<'END'
      small=$TSVM_HOME/../${name}
      mount -t tmpfs -o size=120m none $small
      for store in $TSVM_HOME/store-*; do
        mkdir $small/$(basename $store); mount --bind $store $small/$(basename $store)
      done
      export TSVM_HOME=$small
      trap 'echo "failed: $BASH_COMMAND" >&2' ERR
      tsvm() { "$TSVM" "$@"; }
      try() { "$TSVM" "$@" 2>&1 | sed -E 's|/[^ ]*/||; s/ENOSPC.*/FULL/' || true; }
      fill() { head -c $(($(df --output=avail -B 1 $small | tail -n 1) - 4000000)) /dev/zero > $small/filler; }
      about() { tsvm inspect -f '{{.State.Status}} {{.State.Pid}}' ${name}; ls -A $small/snapshots $small/containers $small/containers/*/; }
      trap 'test $? = 0 || tsvm inspect -f "{{json .State}}" ${name} >&2; tsvm rm -f ${name} > /dev/null' EXIT
      tsvm run -d --name ${name} -m 64m --disk 32m ${DEBIAN} sh -c 'head -c 8M /dev/urandom > /file; sync; echo ready; exec sleep 1d' > /dev/null
      until grep -qs ready $small/containers/*/log.json; do sleep 0.2; done
      mkdir -p $small/snapshots
      before=$(about); fill
      try snapshot create ${name} ${name}
      try fork ${name}
      try suspend ${name}
      try checkpoint create ${name} ${name}
      test "$before" = "$(about)" && echo unchanged
      rm $small/filler
      tsvm snapshot create ${name} ${name}
      before=$(about); fill
      try run -d --snapshot ${name}
      try rollback ${name} ${name}
      test "$before" = "$(about)" && echo unchanged
      rm $small/filler
      tsvm exec ${name} rm /file
      tsvm rollback ${name} ${name}
      tsvm exec ${name} stat -c %s /file
      END
      unshare -m bash -e $small.sh`.replaceAll(/^ {6}/gm, ''),
    );
    const refusal = 'tsvm: the machine cannot be saved: the disk is full';
    expect(said).toEqual([
      ...[refusal, refusal, refusal, refusal, 'unchanged', name],
      ...[
        expect.stringMatching(/^tsvm: cannot copy a disk to layer.ext4: FULL$/),
        expect.stringMatching(/^tsvm: cannot copy a disk to layer.ext4: FULL$/),
      ],
      ...['unchanged', name, '8388608'],
    ]);
  });
});

test.each(machines.filter(({ name }) => name.endsWith('tcg')))(
  'on $name a container cannot be copied, and runs on',
  async (machine) => {
    await using own = ownName(machine);
    const { name } = own;
    const said = await script(
      machine,
      `
      tsvm run -d --name ${name} --label ${name} ${DEBIAN} sh -c ${quoted(COUNTS)} > /dev/null
      lines ${name} 2
      tsvm snapshot create ${name} ${name} 2>&1 | sed 's/container [0-9a-f]*/container ID/'
      tsvm fork ${name} 2>&1 | sed 's/container [0-9a-f]*/container ID/'
      tsvm pause ${name} > /dev/null
      tsvm snapshot create ${name} ${name} 2>&1 | sed 's/container [0-9a-f]*/container ID/'
      tsvm suspend ${name} 2>&1 | sed 's/container [0-9a-f]*/container ID/'
      tsvm unpause ${name} > /dev/null
      lines ${name} 5
      tsvm rm -f ${name} > /dev/null
      tsvm snapshot ls -q`,
    );
    const refusal = 'tsvm: container ID runs on an emulated CPU (tcg): only a machine on KVM can be copied';
    const paused = 'tsvm: container ID is paused: unpause it first';
    expect(said).toEqual([refusal, refusal, paused, paused]);
  },
);
