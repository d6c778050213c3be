// Proves that a full disk ends each command in one clear line, that nothing is left half-made, and
// that space can be made by removals. The home is on a small tmpfs in a mount namespace.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeLayout } from '../../fixtures/oci-layout.js';
import { Random } from '../../fixtures/random.js';
import { tar } from '../../fixtures/tar-writer.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const MIB = 2 ** 20;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync('/tmp/tsvm-test-');
  for (const name of ['runtime', 'disk']) mkdirSync(join(folder, name), { mode: 0o700 });
});

afterEach(() => rmSync(folder, { recursive: true }));

/** Loads an image whose VOLUME has 4 MiB into a home on a disk of 12 MiB, then runs the script. */
function onSmallDisk(script: string): string[] {
  const data = new Random(1).bytes(4 * MIB);
  const layer = tar([
    { path: 'data/', type: '5' },
    { path: 'data/file', data },
  ]);
  writeFileSync(join(folder, 'other.tar'), tar([{ path: 'other', data: new Random(2).bytes(MIB) }]));
  const { imageId } = writeLayout(join(folder, 'image'), [layer], { config: { Volumes: { '/data': {} } } });
  const setUp = `
    mount -t tmpfs -o size=12m none disk
    tsvm() { "$TSVM" "$@" 2>&1; echo "= $?"; }
    create() { tsvm create --kernel "$TSVM" "$@" ${imageId} /hello; }
    "$TSVM" load -i image > /dev/null
    ID=${imageId}
    # What is in the home besides empty folders and the store's own files.
    home() { find disk/home \\( -name lock -o -name 'events*' -o -path '*/images/*' -o -path '*/layers/*' \\) -prune -o \\
      -type f -printf '%P\\n' | sort; }`;
  const { stdout, stderr } = spawnSync('unshare', ['-m', 'bash', '-c', `${setUp}\n${script}`], {
    ...{ cwd: folder, encoding: 'utf8' as const },
    env: { ...process.env, TSVM, TSVM_HOME: join(folder, 'disk/home'), XDG_RUNTIME_DIR: join(folder, 'runtime') },
  });
  expect(stderr).toBe('');
  return stdout.trimEnd().split('\n');
}

test('a volume that does not fit is not begun', () => {
  const lines = onSmallDisk(`
    head -c 6M /dev/zero > disk/filler
    home > before
    create
    create -v named:/data
    home | diff before - && echo unchanged
    rm disk/filler
    create -v fits:/data | tail -n 1
    [ $(stat -c %s disk/home/volumes/fits/_data/file) = ${4 * MIB} ] && echo whole`);
  const error = expect.stringMatching(
    /^tsvm: cannot copy \/data out of the image: no space left on device: 4\.0 MiB are needed, \d\.\d MiB are free$/,
  );
  expect(lines).toEqual([error, '= 125', error, '= 125', 'unchanged', '= 0', 'whole']);
});

test('on a full disk each command says so in one line, and leaves nothing', () => {
  const lines = onSmallDisk(`
    create -v named:/data --name first > /dev/null
    home > before
    dd if=/dev/zero of=disk/filler bs=4k 2> /dev/null
    create
    create -v named:/data
    create -v /tmp:/tmp --tmpfs /data
    tsvm volume create more
    tsvm network create more
    tsvm tag $ID name | sed "s/$ID/ID/"
    tsvm rename first second
    tsvm import other.tar name
    home | diff before - && echo unchanged
    tsvm ps -a --format '{{.Names}}'
    tsvm df > /dev/null
    tsvm rm -v second
    tsvm volume prune -af > /dev/null
    tsvm image prune -af > /dev/null
    home`);
  const holds = expect.stringMatching(/^tsvm: cannot hold sha256:[0-9a-f]{64}: no space left on device$/);
  const unnamed = expect.stringMatching(
    /^tsvm: cannot make the volume [0-9a-f]{64}: ENOSPC: no space left on device, write$/,
  );
  expect(lines).toEqual([
    ...[unnamed, '= 125', holds, '= 125', holds, '= 125'],
    ...['tsvm: cannot make the volume more: ENOSPC: no space left on device, write', '= 125'],
    ...['tsvm: cannot make the network more: ENOSPC: no space left on device, write', '= 125'],
    ...['tsvm: cannot tag ID: no space left on device', '= 125'],
    // A symbolic link needs no block.
    '= 0',
    ...['tsvm: cannot import other.tar as name:latest: no space left on device', '= 125'],
    ...['unchanged', 'second', '= 0', 'second', '= 0'],
  ]);
});
