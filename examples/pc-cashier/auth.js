// Signs people in. The one place to change for another way of signing in: whatever exports `getAccessToken` will do.
//
// It takes the SDK that `npm run sign-in` has put into lib/. The gateway refuses anonymous users.

import { ENV_ID } from './config.js';
import { t } from './words.js';

let auth; // of the SDK

/** An access token of whoever is signed in; else asks them to. `renew`: the last one was refused. */
export async function getAccessToken({ renew = false } = {}) {
  auth ??= await load();
  const { data, error } = renew ? await auth.refreshSession() : await auth.getSession();
  if (error && !navigator.onLine) {
    throw new Error(t('noAnswer')); // nobody is asked for a password because the line is down
  }
  return data?.session?.access_token ?? signIn();
}

async function load() {
  let sdk;
  try {
    sdk = await import('./lib/cloudbase.js');
  } catch {
    throw new Error(t('noSdk'));
  }
  return sdk.default.init({ env: ENV_ID }).auth();
}

function signIn() {
  const dialog = document.createElement('dialog');
  const form = document.createElement('form');
  const said = document.createElement('p');
  said.setAttribute('role', 'alert');
  const submit = document.createElement('button');
  submit.textContent = t('signIn');
  const email = field(t('email'), 'email', 'username');
  const password = field(t('password'), 'password', 'current-password');
  form.append(email, password, said, submit);
  dialog.append(form);
  dialog.setAttribute('aria-label', t('signIn'));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      reject(new Error(t('signInFirst')));
    });
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      submit.disabled = true;
      const [{ value: name }, { value: secret }] = form.elements;
      const { data, error } = await auth.signInWithPassword({ email: name, password: secret });
      submit.disabled = false;
      if (error) {
        said.textContent = error.message;
        return;
      }
      resolve(data.session.access_token);
      dialog.close();
    });
  });
}

function field(name, type, autocomplete) {
  const label = document.createElement('label');
  const input = Object.assign(document.createElement('input'), { type, autocomplete, required: true });
  label.append(name, input);
  return label;
}
