// Short options with their value after `=`, as Docker's parser takes them, and words that are left
// alone.
import { describe, expect, test } from 'vitest';
import { CliCommand, optionIn, splitShortOptions } from '../../../../cli/commands/arguments.js';

function command(): CliCommand {
  return new CliCommand('test')
    .option('-i, --interactive')
    .option('-t, --tty')
    .option('-m, --memory <SIZE>')
    .option('-u, --user <USER[:GROUP]>')
    .option('-e, --env <NAME=VALUE>');
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
    [['-i=1'], ['-i=1']],
    [
      ['--', '-m=1g'],
      ['--', '-m=1g'],
    ],
    [
      ['x', '-m=1g'],
      ['x', '-m', '1g'],
    ],
    [['-m'], ['-m']],
  ])('%j are read as %j', (words, split) => expect(splitShortOptions(command(), words)).toEqual(split));

  test('are left alone among the words of a container', () => {
    const words = ['-m=1g', 'image', 'sort', '-u=1'];
    expect(splitShortOptions(command().passThroughOptions(), words)).toEqual(['-m', '1g', 'image', 'sort', '-u=1']);
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
