// What Docker's parser takes and commander does not: short options with their value after `=`,
// flags with true or false, and words that are left alone.
import { describe, expect, test } from 'vitest';
import { CliCommand, optionIn, wordsForCommander } from '../../../../cli/commands/arguments.js';

function command(): CliCommand {
  return new CliCommand('test')
    .option('-i, --interactive')
    .option('-t, --tty')
    .option('-m, --memory <SIZE>')
    .option('-u, --user <USER[:GROUP]>')
    .option('-e, --env <NAME=VALUE>')
    .option('--rm')
    .option('--no-trunc')
    .option('--pull [POLICY]');
}

describe('short options with =', () => {
  test.each([
    [['-m=1g'], ['-m', '1g']],
    [
      ['-itm=1g', 'x'],
      ['-itm', '1g', 'x'],
    ],
    [['-m='], ['-m', '']],
    [['-e=A=1'], ['-e', 'A=1']],
    // A value that is not set apart by = is commander's matter.
    [['-m1g'], ['-m1g']],
    [['-eu=1'], ['-eu=1']],
    [['--memory=1g'], ['--memory=1g']],
    // The value of another option.
    [
      ['-e', '-m=1g'],
      ['-e', '-m=1g'],
    ],
    [
      ['--user', '-m=1g'],
      ['--user', '-m=1g'],
    ],
    [['-x=1'], ['-x=1']],
    [['-i=1'], ['-i']],
    [
      ['--', '-m=1g'],
      ['--', '-m=1g'],
    ],
    [
      ['x', '-m=1g'],
      ['x', '-m', '1g'],
    ],
    [['-m'], ['-m']],
  ])('%j are read as %j', (words, split) => expect(wordsForCommander(command(), words)).toEqual(split));

  test('are left alone among the words of a container', () => {
    const words = ['-m=1g', 'image', 'sort', '-u=1'];
    expect(wordsForCommander(command().passThroughOptions(), words)).toEqual(['-m', '1g', 'image', 'sort', '-u=1']);
  });
});

describe('flags with a value', () => {
  /** The fields that commander sets for the words. */
  const fields = async (...words: string[]) => {
    const test = command().action(() => {});
    await test.parseAsync(wordsForCommander(test, words), { from: 'user' });
    return test.opts();
  };

  test.each([
    [['--rm=true'], { rm: true, trunc: true }],
    [['--rm=1', '--no-trunc=t'], { rm: true, trunc: false }],
    [['--rm=false'], { trunc: true }],
    [['--rm', '--rm=0'], { trunc: true }],
    [['--rm=F', '--rm'], { rm: true, trunc: true }],
    [['--no-trunc=false'], { trunc: true }],
    [['--no-trunc', '--trunc'], { trunc: true }],
    [['--trunc=false'], { trunc: false }],
    [['--trunc=true'], { trunc: true }],
    [['-i=false'], { trunc: true }],
    [['-it=false'], { interactive: true, trunc: true }],
    [['-it=true'], { interactive: true, tty: true, trunc: true }],
    [['-e', '--rm=false'], { env: '--rm=false', trunc: true }],
    [['--pull=false'], { pull: 'false', trunc: true }],
  ])('%j give %j', async (words, expected) => expect(await fields(...words)).toEqual(expected));

  test.each(['--rm=maybe', '--rm=', '--no-trunc=no', '--trunc=2', '-it=x'])('%s is refused', (word) => {
    expect(() => wordsForCommander(command(), [word])).toThrow(/is "\w*": use true or false$/);
  });
});

describe('the option in a word', () => {
  test.each([
    ['--memory', '--memory', undefined],
    ['--memory=', '--memory', ''],
    ['-m', '--memory', undefined],
    ['-it', '--tty', undefined],
    ['-itm', '--memory', undefined],
    ['-itm1g', '--memory', '1g'],
    ['-eu', '--env', 'u'],
  ])('%s is %s with %j', (word, long, value) => {
    expect(optionIn(command(), word)).toMatchObject({ option: { long }, value });
  });

  test.each(['', '-', '--', 'm', '-x', '-ix', '--mem'])('%j has none', (word) => {
    expect(optionIn(command(), word)).toBeUndefined();
  });
});
