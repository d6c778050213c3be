// Templates of --format are filled in as Docker does, or refused.
import { describe, expect, test } from 'vitest';
import { fillTemplate } from '../../../../cli/output/template.js';

const value = {
  Id: 'sha256:1',
  Size: 12,
  Ports: { '80/tcp': [{ HostIp: '::', HostPort: '8080' }] },
  Config: { Cmd: ['sh', '-c'], Labels: { 'a.b': 'x', A: 'y' }, User: '', No: null },
};

describe('a template', () => {
  test.each([
    ['{{.Id}}', 'sha256:1'],
    ['{{ .Id }} has {{.Size}} bytes', 'sha256:1 has 12 bytes'],
    ['{{.Config.Cmd}}', '[sh -c]'],
    ['{{json .Config.Cmd}}', '["sh","-c"]'],
    ['{{.Config.Labels}}', 'map[A:y a.b:x]'],
    ['{{index .Config.Labels "a.b"}}', 'x'],
    ['{{index .Config.Cmd 1}}', '-c'],
    ['{{json (index .Config.Labels "a.b")}}', '"x"'],
    ['{{index .Config.Labels "none"}}', ''],
    ['{{(index (index .Ports "80/tcp") 0).HostPort}}', '8080'],
    ['{{len (index .Ports "80/tcp")}} {{upper (.Config).User}}', '1 '],
    ['{{range .Ports}}{{(index . 0).HostIp}}{{end}}', '::'],
    ['[{{.Config.User}}]', '[]'],
    ['{{.Config.No}}', '<no value>'],
    ['{{json .}}', JSON.stringify(value)],
    ['no action', 'no action'],
  ])('%s is filled in as Docker does', (template, filled) => {
    expect(fillTemplate(template, value)).toBe(filled);
  });

  test.each([
    ['{{.None}}', /no field None/],
    ['{{.Id.More}}', /no field More/],
    ['{{.constructor}}', /no field constructor/],
    ['{{range .Config.Cmd}}', /template parsing error/],
    ['{{}}', /template parsing error/],
    ['{{index .Config.Cmd 9}}', 'template: index out of range: 9'],
    ['{{index .Ports "81/tcp" 0}}', 'template: index out of range: 0'],
    ['{{index .Config.Cmd "length"}}', 'template: the index of a list is a number, not length'],
    ['{{(index .Ports "80/tcp"}}', /template parsing error/],
    ['{{(.Config).None}}', /no field None/],
  ])('%s is refused in one line', (template, message) => {
    expect(() => fillTemplate(template, value)).toThrow(message);
  });
});
