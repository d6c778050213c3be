// Programs use mounted folders and volumes like disks, and the host sees the same files.
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  DEBIAN,
  fastest,
  type Machine,
  machines,
  PYTHON,
  type Result,
  readUntil,
  run,
  TSVM,
  tsvmRun,
} from './machine.js';

const PROGRAMS = fileURLToPath(new URL('../fixtures/guest-programs', import.meta.url));
const RANDOM_OPERATIONS = 3000;

/** A folder of the machine's own /tmp, which is in memory in the lab. */
const folder = `/tmp/tsvm-volumes-${process.pid}`;

/**
 * A container appends lines to a file in a mounted folder, and prints each one after it is written.
 * After 100 lines the launcher of its machine is killed. Prints the exit code of the run, the last
 * line printed, the last line in the file, and whether the file has all lines up to there.
 */
const WRITE_UNTIL_KILLED = `
  mkdir -p "$path"
  "$TSVM" run --rm -v "$path:/data" ${DEBIAN} sh -c \
    'n=0; while :; do n=$((n + 1)); echo $n >> /data/lines; echo $n; done' > "$path.printed" 2> "$path.errors" &
  cli=$!
  for _ in $(seq 3000); do [ "$(wc -l < "$path.printed")" -lt 100 ] || break; sleep 0.1; done
  kill -9 "$(pgrep -P "$cli" -f dist/machine.cjs)"
  wait "$cli"; echo $?
  tail -n 1 "$path.printed"; tail -n 1 "$path/lines"
  seq "$(tail -n 1 "$path/lines")" | cmp - "$path/lines" && echo in order
`;

/** Makes `folder` on the machine. Returns functions that run scripts there and in a container. */
function prepare(machine: Machine) {
  const here = async (script: string): Promise<string> => {
    const { code, stdout, stderr } = await run(machine, ['sh', '-c', script]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return stdout;
  };
  const inside = (words: string[], script: string): Promise<Result> =>
    tsvmRun(machine, [...words, DEBIAN, 'sh', '-c', script]);

  beforeAll(async () => {
    await here(`mkdir -p ${folder}`);
  });
  afterAll(async () => {
    await here(`rm -rf ${folder}`);
  });
  return { here, inside };
}

describe.each(machines)('on $name', (machine) => {
  const { here } = prepare(machine);

  test('programs use a mounted folder like a disk', async () => {
    await here(`mkdir -p ${folder}/used`);
    const words = ['-v', `${PROGRAMS}:/programs:ro`, '-v', `${folder}/used:/data`, PYTHON];
    const result = await tsvmRun(machine, [...words, 'python3', '/programs/use-files.py', '/data']);
    expect(result).toEqual({ code: 0, stdout: 'all well\n', stderr: '' });
    expect(await here(`cd ${folder}/used; cat hard; stat -c '%u %g %h' a; readlink out; tail -c 3 sparse`)).toBe(
      'new1000 1001 2\n/etc/hostname\nend',
    );
  });

  test(`${RANDOM_OPERATIONS} random operations have the same results in a mounted folder as in a tmpfs`, async () => {
    await here(`mkdir -p ${folder}/random`);
    const mounts = ['-v', `${PROGRAMS}:/programs:ro`, '-v', `${folder}/random:/data`, '--tmpfs', '/own:mode=755'];
    const script = ['/programs/random-files.py', '/data', '/own', '7', String(RANDOM_OPERATIONS)];
    const { code, stdout, stderr } = await tsvmRun(machine, [...mounts, PYTHON, 'python3', ...script]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    // The host sees the same tree.
    const digest = `import runpy; print(runpy.run_path('${PROGRAMS}/random-files.py')['digest']('${folder}/random'))`;
    const argv = ['/usr/bin/python3', '-c', `import sys; sys.argv += ['', '', '0', '0']; ${digest}`];
    expect((await run(machine, argv)).stdout).toBe(stdout);
  });

  test('a killed machine loses no line that its container had written before it printed it', async () => {
    const path = `${folder}/killed`;
    const { code, stdout, stderr } = await run(machine, ['bash', '-c', WRITE_UNTIL_KILLED], { env: { TSVM, path } });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [exit, printed, written, order] = stdout.split('\n');
    expect({ exit, order }).toEqual({ exit: '125', order: 'in order' });
    expect(Number(printed)).toBeGreaterThanOrEqual(100);
    expect(Number(written)).toBeGreaterThanOrEqual(Number(printed));
  });
});

describe.each(fastest)('on $name', (machine) => {
  const { here, inside } = prepare(machine);

  test("a user's Python job reads and writes a mounted folder, and owns the files it makes", async () => {
    await here(
      `mkdir -p ${folder}/job; seq 1 1000 | sed 's/$/,x/' > ${folder}/job/in.csv; chown -R 1234:5678 ${folder}/job`,
    );
    const script = `
import csv, json
rows = [int(row[0]) for row in csv.reader(open('/job/in.csv'))]
json.dump({'count': len(rows), 'sum': sum(rows)}, open('/job/out.json', 'w'))`;
    const words = ['-u', '1234:5678', '-v', `${folder}/job:/job`, PYTHON];
    const result = await tsvmRun(machine, [...words, 'python3', '-c', script]);
    expect(result).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(JSON.parse(await here(`cat ${folder}/job/out.json`))).toEqual({ count: 1000, sum: 500500 });
    expect(await here(`stat -c '%u %g %a' ${folder}/job/out.json`)).toBe('1234 5678 644\n');
  });

  test('a read-only mount stays read-only, even if root remounts it', async () => {
    await here(`mkdir -p ${folder}/fixed; echo kept > ${folder}/fixed/file`);
    const script = `mount -o remount,rw /data; mount -t virtiofs tsvm /mnt
      for at in /data /mnt/0; do
        cat $at/file; echo lost > $at/file; rm $at/file; touch $at/new; chmod 777 $at/file; mv $at/file $at/moved
      done; true`;
    const { stdout, stderr } = await inside(['--privileged', '-v', `${folder}/fixed:/data:ro`], script);
    expect(stdout).toBe('kept\nkept\n');
    expect(stderr.match(/Read-only file system/g)?.length).toBe(10);
    expect(await here(`cd ${folder}/fixed; ls; cat file; stat -c %a file`)).toBe('file\nkept\n644\n');
  });

  test('a volume whose tree is too deep for a path, with names that are no text, is measured and removed', async () => {
    const name = `deep-${process.pid}`;
    const make = `cd /data; n=$(printf "%0250d" 0); for i in $(seq 30); do mkdir $n; cd -P $n; done
      head -c 3000000 /dev/zero > fill; cd /data; mkdir "$(printf "\\377\\n.")"; mkdir closed; chmod 0 closed`;
    const script = `
      '${TSVM}' run --rm -v ${name}:/data ${DEBIAN} sh -c '${make}'
      '${TSVM}' df > ${folder}/df
      '${TSVM}' volume rm ${name}; ls -A "$TSVM_HOME/volumes" | grep -c ${name} || :`;
    expect(await here(script)).toBe(`${name}\n0\n`);
  });

  test('a volume takes no more than its size and inodes, also after a restart, and no other volume less', async () => {
    const names = [`full-${process.pid}`, `other-${process.pid}`];
    await here(`"${TSVM}" volume create --size 16m --inodes 500 ${names[0]} >/dev/null`);
    const mounts = names.flatMap((name, index) => ['-v', `${name}:/${['full', 'other'][index]}`]);
    try {
      const script = `cd /full
        fallocate -l 5G file; truncate -s 5G file; stat -c '%s %b' file; rm file
        perl -e 'for (1..10000) { mkdir $_ or do { print "$_: $!\n"; exit } }'; rmdir *
        dd if=/dev/zero of=file bs=1M count=99; stat -c %s file
        df -B1 --output=size,avail,itotal,iavail . | tail -n 1 | tr -s ' '
        dd if=/dev/zero of=/other/file bs=1M count=32; stat -c %s /other/file`;
      const first = await inside(mounts, `exec 2>&1; ${script.replaceAll(/(dd [^;\n]+)/g, '$1 status=none')}`);
      expect({ code: first.code, lines: first.stdout.trim().split('\n') }).toEqual({
        code: 0,
        lines: [
          'fallocate: fallocate failed: Disk quota exceeded',
          '5368709120 0',
          '500: Disk quota exceeded',
          "dd: error writing 'file': Disk quota exceeded",
          expect.stringMatching(/^16[67]\d{5}$/),
          expect.stringMatching(/^ ?16777216 [0-4]?\d{0,4} 500 498$/),
          '33554432',
        ],
      });
      const again = await inside(
        mounts,
        'echo x > /full/new; echo x > /other/new && rm /full/file && echo x > /full/new',
      );
      expect(again).toMatchObject({ code: 0, stderr: expect.stringMatching(/cannot create \/full\/new: Disk quota/) });
    } finally {
      await here(`"${TSVM}" volume rm ${names.join(' ')} >/dev/null`);
    }
  });

  test('a volume that two machines share is no larger by files that one deletes and the other has open', async () => {
    const name = `shared-${process.pid}`;
    const holding = 'exec 3> /data/held; head -c 8M /dev/zero >&3; echo written; exec sleep 1000';
    const taking = 'rm /data/held; head -c 16M /dev/zero > /data/file; stat -c %s /data/file; exec sleep 1000';
    const script = `
      t='${TSVM}'; trap '$t rm -f ${name}-holds ${name}-takes > /dev/null 2>&1; $t volume rm ${name} > /dev/null' EXIT
      count() { $t volume inspect -f '{{.Status.size}}' ${name}; }
      until_printed() { until $t logs $1 2> /dev/null | grep -q $2; do sleep 0.2; done; }
      $t volume create --size 16m ${name} > /dev/null
      $t run -d --name ${name}-holds --network none -v ${name}:/data ${DEBIAN} sh -c '${holding}' > /dev/null
      until_printed ${name}-holds written
      $t run -d --name ${name}-takes --network none -v ${name}:/data ${DEBIAN} sh -c '${taking}' > /dev/null
      until_printed ${name}-takes '^[0-9]'
      $t logs ${name}-takes 2> /dev/null; count
      kill -9 $($t inspect -f '{{.State.Pid}}' ${name}-holds)
      until [ "$(count)" -lt 9000000 ]; do sleep 0.2; done
      $t exec ${name}-takes sh -c 'head -c 6M /dev/zero > /data/more; stat -c %s /data/more'`;
    expect((await here(script)).trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^8[34]\d{5}$/),
      '16777216',
      `${6 * 2 ** 20}`,
    ]);
  });

  test('a guest that replaces the source of a mount by a link gets nothing else of the host', async () => {
    const name = `swap-${process.pid}`;
    await here(`cd ${folder}; mkdir -p proj/cache host; echo secret > host/file; echo own > proj/file`);
    const mounts = `-v ${folder}/proj:/outer -v ${folder}/proj/cache:/cache -v ${folder}/proj/file:/file`;
    const attack = 'cd /outer; rmdir cache; ln -s ../host cache; rm file; ln -s ../host/file file; exit 1';
    const script = `
      t='${TSVM}'
      $t run -d --name ${name} --restart on-failure:2 ${mounts} ${DEBIAN} sh -c '${attack}' > ${folder}/id
      $t wait ${name}
      $t inspect -f '{{.RestartCount}} {{.State.Error}}' ${name}
      $t start ${name} 2>&1 || echo "start $?"
      $t rm ${name} > ${folder}/id
      $t run --rm -v ${folder}/proj/cache:/cache ${DEBIAN} ls /cache 2>&1 || echo "run $?"
      $t run --rm -v ${folder}/proj/file:/file ${DEBIAN} cat /file 2>&1 || echo "run $?"
      ls ${folder}/host; cat ${folder}/host/file`;
    const refusal = (file: string, why: string) => `bind source path cannot be mounted: ${folder}/proj/${file}: ${why}`;
    const since = refusal('cache', 'a link is on its path since the container was created');
    const made = (file: string) =>
      refusal(file, `a container may have made the link ${folder}/proj/${file}: give the path that it leads to`);
    expect((await here(script)).trimEnd().split('\n')).toEqual([
      '125',
      `2 ${since}`,
      `tsvm: ${since}`,
      'start 125',
      `tsvm: ${made('cache')}`,
      'run 125',
      `tsvm: ${made('file')}`,
      'run 125',
      'file',
      'secret',
    ]);
  });

  test('a folder, a file, a volume and a tmpfs mount within one another in any order', async () => {
    await here(`mkdir -p ${folder}/outer ${folder}/deep; echo one > ${folder}/one; echo deep > ${folder}/deep/file`);
    const mounts = [
      ...['-v', `${folder}/deep:/a/b/c/d:ro`, '-v', `${folder}/one:/a/one`, '--tmpfs', '/a/b/c', '-v', 'nested:/a/b'],
      ...['--mount', `type=bind,source=${folder}/outer,target=/a`, '-v', `${folder}/one:/etc/hosts`],
    ];
    const script =
      'cat /a/one /a/b/c/d/file /etc/hosts; echo two > /a/one; echo v > /a/b/v; echo t > /a/b/c/t; ls -A /a';
    expect(await inside(mounts, script)).toEqual({ code: 0, stdout: 'one\ndeep\none\nb\none\n', stderr: '' });
    expect(await here(`cat ${folder}/one; ls ${folder}/outer/b ${folder}/outer/one`)).toMatch(/^two\n/);
    expect(await inside(['-v', 'nested:/v'], 'ls /v; cat /v/v')).toEqual({ code: 0, stdout: 'c\nv\nv\n', stderr: '' });
    await run(machine, [TSVM, 'volume', 'rm', 'nested']);
  });

  test('a new volume gets the files of the image with their owners, also if mounted read-only', async () => {
    const look = 'stat -c "%n %U %G %a" /var/mail /var/lib/apt/lists/partial';
    const plain = await inside([], look);
    expect(plain.stdout).toContain('/var/mail root mail 2775\n/var/lib/apt/lists/partial _apt root 700\n');
    const mounts = ['-v', 'lists:/var/lib/apt/lists:ro', '-v', '/var/mail', '--read-only'];
    expect(await inside(mounts, look)).toEqual(plain);
    const { stdout, stderr } = await inside(mounts, 'touch /var/mail/new && touch /var/lib/apt/lists/new');
    expect({ stdout, stderr }).toMatchObject({ stdout: '', stderr: expect.stringMatching(/lists\/new.*Read-only/) });
    expect((await run(machine, [TSVM, 'volume', 'rm', 'lists'])).code).toBe(0);
  });

  test('the host sees changes of the guest at once, the guest those of the host within seconds', async () => {
    await here(`mkdir -p ${folder}/both`);
    const script = 'echo first > /data/guest; until [ -e /data/host ]; do sleep 0.1; done; cat /data/host /data/guest';
    const command = machine.spawn([TSVM, 'run', '--rm', '-v', `${folder}/both:/data`, DEBIAN, 'sh', '-c', script]);
    await here(`until [ -s ${folder}/both/guest ]; do sleep 0.1; done`);
    await here(`cd ${folder}/both; echo second > guest; echo new > .host; mv .host host`);
    expect(await readUntil(command.stdout, 'second')).toBe('new\nsecond\n');
    expect(await command.exit).toBe(0);
  });
});
