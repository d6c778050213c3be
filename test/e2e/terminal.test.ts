// Containers at a terminal behave as for a person: tmux types and reads the screen.
import { describe, expect, test } from 'vitest';
import { DEBIAN, fastest, machines, run, TSVM } from './machine.js';
import { Terminal } from './tmux.js';

/**
 * A command that shows something, and waits to be ended by Ctrl-C. One program does both: a shell drops
 * a Ctrl-C that comes before it has started the next program.
 */
const waiting = (shows: string) => `sh -c "${shows}; exec sleep 1000"`;

describe.each(fastest)('on $name', (machine) => {
  test('a shell in a terminal follows resizes and Ctrl-C, and leaves the terminal as it was', async () => {
    const after = 'echo "code $?, $(stty -a | grep -oE -- "-?(icanon|opost)" | xargs)"; sleep 1000';
    const command = `'${TSVM}' run --rm -it --hostname box ${DEBIAN} bash --norc; ${after}`;
    await using terminal = await Terminal.open(machine, command, [80, 24]);
    await terminal.shows(/bash-5\.2#$/m);

    await terminal.type('tty; stty size');
    await terminal.press('Enter');
    await terminal.shows(/^\/dev\/pts\/0\n24 80$/m);

    await terminal.resize(100, 30);
    await terminal.shows(/^30 100$/m, async () => {
      await terminal.type('stty size');
      await terminal.press('Enter');
    });

    await terminal.type(waiting('echo up $((6 * 7))'));
    await terminal.press('Enter');
    await terminal.shows(/^up 42$/m);
    await terminal.press('C-c');
    await terminal.shows(/\^C\nbash-5\.2#$/m);
    await terminal.type('echo "[$?]"');
    await terminal.press('Enter');
    await terminal.shows(/^\[130\]$/m);
    // In raw mode, a newline only goes down.
    await terminal.type("clear; stty raw; printf 'ab\\ncd\\r\\n'; stty sane");
    await terminal.press('Enter');
    await terminal.shows(/^ab\n {2}cd\nbash-5\.2#$/m);
    await terminal.type('exit 7');
    await terminal.press('Enter');
    await terminal.shows(/^code 7, (icanon opost|opost icanon)$/m);
  });

  test('a running shell is detached from, attached to and detached from again, and ends with its code', async () => {
    const name = `t${process.pid}-${machines.indexOf(machine)}-${Date.now()}`;
    await using terminal = await Terminal.open(machine, 'PS1="here> " bash --norc', [80, 24]);
    const line = async (text: string) => {
      await terminal.type(`clear; ${text}`);
      await terminal.press('Enter');
    };
    await line(`'${TSVM}' run --rm -it --name ${name} ${DEBIAN} bash --norc; echo "left $?"`);
    await terminal.shows(/^bash-5\.2#$/m);
    await line('kept=42; stty size');
    await terminal.shows(/^24 80$/m);
    await terminal.press('C-p');
    await terminal.press('C-q');
    await terminal.shows(/^left 0\nhere>$/m);
    await line(`stty -a | grep -o -- "-\\?icanon"; '${TSVM}' ps --filter name=${name} --format "{{.State}}"`);
    await terminal.shows(/^icanon\nrunning$/m);

    await terminal.resize(100, 30);
    await line(`'${TSVM}' attach --detach-keys ctrl-x,x ${name}; echo "left $?"`);
    await terminal.shows(/^bash-5\.2#$/m);
    await line(waiting('stty size; echo is $kept'));
    await terminal.shows(/^30 100\nis 42$/m);
    await terminal.press('C-c');
    await terminal.shows(/^\^C\nbash-5\.2#$/m);
    await terminal.press('C-x');
    await terminal.type('x');
    await terminal.shows(/^left 0\nhere>$/m);

    await line(`'${TSVM}' attach ${name}; echo "code $?"; '${TSVM}' ps -aq --filter name=${name}`);
    await terminal.shows(/^bash-5\.2#$/m);
    await line('exit 7');
    await terminal.shows(/^code 7\nhere>$/m);
  });

  test('Ctrl-C ends a run before and after its command starts, and leaves nothing', async () => {
    const name = `t${process.pid}-${machines.indexOf(machine)}-${Date.now()}`;
    const ps = `'${TSVM}' ps -a --filter name=${name} --format "{{.Names}}"`;
    const words = `run --rm -it --name ${name} ${DEBIAN} sh -c 'sleep 1000; exit 130'`;
    const command = `trap : INT; '${TSVM}' ${words}; echo "code $?"; while :; do sleep 1; done`;
    await using terminal = await Terminal.open(machine, command, [80, 24]);
    while ((await run(machine, ['sh', '-c', ps])).stdout === '');
    await terminal.shows(/code 130$/m, () => terminal.press('C-c'));
    // The supervisor may need a moment to notice that the run was cancelled.
    while ((await run(machine, ['sh', '-c', ps])).stdout !== '');
  });

  test('a run ends with its terminal even if its process ignores SIGHUP', async () => {
    const folder = `/tmp/tsvm-hangup-${Date.now()}`;
    const shell = (script: string) => run(machine, ['bash', '-c', script]);
    await shell(`mkdir ${folder}`);
    {
      const container = `'${TSVM}' run --rm ${DEBIAN} sh -c 'echo up; exec sleep 1000' 2> ${folder}/stderr`;
      await using terminal = await Terminal.open(machine, `echo $$ > ${folder}/pid; exec ${container}`, [80, 24]);
      await terminal.shows(/^up$/m);
    }
    const gone = `for _ in $(seq 3000); do kill -0 $(cat ${folder}/pid) || break; sleep 0.1; done 2> /dev/null`;
    expect((await shell(`${gone}; cat ${folder}/stderr; rm -r ${folder}`)).stdout).toBe('tsvm: the terminal is gone\n');
  });

  test('-t without -i gives a terminal without input', async () => {
    const words = [TSVM, 'run', '--rm', '-t', DEBIAN, 'sh', '-c', 'tty; echo "$TERM"'];
    const { code, stdout } = await run(machine, words, { stdin: 'not for the command' });
    expect({ code, stdout }).toEqual({ code: 0, stdout: '/dev/pts/0\r\nxterm\r\n' });
  });
});
