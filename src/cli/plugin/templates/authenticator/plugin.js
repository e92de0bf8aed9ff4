// An authenticator for names and passwords from its settings: a beginning to change into your own.
//
// What an authenticator is asked and what it may ask back stands in wit/plugin.wit. A client says
// `addauth <scheme> alice:secret`, and from then on is `<scheme>:alice` in access lists and policies.
import { code, plugin, refuse, refuseSettings, textOf } from './wasmkeeper.js';

let logins;

export const setup = plugin({
  // Runs before a deployment is accepted, too: what is refused here is the operator's answer.
  configure(scheme, settings) {
    logins = JSON.parse(settings).logins ?? [];
    if (!Array.isArray(logins) || logins.some((login) => !login.includes?.(':'))) {
      refuseSettings('logins: a list of NAME:PASSWORD is required');
    }
  },
});

export const authentication = plugin({
  // What this credential proves. Never log it.
  authenticate(view, credential) {
    const claimed = textOf(credential);
    const login = logins.find((login) => equal(login, claimed));
    if (login === undefined) refuse(code.NO_AUTH, 'there is no such login');
    return { ids: [login.slice(0, login.indexOf(':'))], validUntilMs: undefined };
  },

  // Is this a well-formed id for an access list? A text that is thrown says why not.
  checkId(id) {
    if (id === '') throw 'an id is required';
  },

  // Asked only if the two differ: here ids match nothing but themselves.
  matches(held, wanted) {
    return false;
  },
});

// Takes as long wherever the difference is, so that nobody can guess a password letter by letter.
function equal(one, other) {
  if (one.length !== other.length) return false;
  let differs = 0;
  for (let at = 0; at < one.length; at++) differs |= one.charCodeAt(at) ^ other.charCodeAt(at);
  return differs === 0;
}
