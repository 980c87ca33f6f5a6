// Puts the page together.

import { startCashier } from './cashier.js';
import { startDesk } from './desk.js';
import { $, setText } from './dom.js';
import { chooseLanguage, language, onLanguage, startLanguage, t } from './i18n.js';
import { startPhone } from './phone.js';
import { connect, onChange, state } from './store.js';
import { startWatch } from './watch.js';

function renderTop() {
  $('live').dataset.live = state.live;
  setText($('live-text'), t(`live.${state.live}`));
}

function startLanguages() {
  const buttons = [...$('languages').querySelectorAll('button')];
  const press = () =>
    buttons.forEach((each) => each.setAttribute('aria-pressed', String(each.dataset.language === language())));
  buttons.forEach((each) => each.addEventListener('click', () => chooseLanguage(each.dataset.language)));
  onLanguage(press);
}

/** Tabs as people know them: one stop for the Tab key, arrows between them. */
function startTabs() {
  const tabs = [...$('tablist').querySelectorAll('[role=tab]')];
  const choose = (chosen) => {
    for (const tab of tabs) {
      const selected = tab === chosen;
      tab.setAttribute('aria-selected', String(selected));
      tab.tabIndex = selected ? 0 : -1;
      $(tab.getAttribute('aria-controls')).hidden = !selected;
    }
  };
  const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  tabs.forEach((tab, index) => {
    tab.addEventListener('click', () => choose(tab));
    tab.addEventListener('keydown', (event) => {
      const step = steps[event.key];
      if (step === undefined) {
        return;
      }
      event.preventDefault();
      const last = tabs.length - 1;
      const place = Number.isFinite(step) ? (index + step + tabs.length) % tabs.length : step > 0 ? last : 0;
      choose(tabs[place]);
      tabs[place].focus();
    });
  });
  choose(tabs[0]);
}

startTabs();
startLanguages();
startCashier();
startPhone();
startWatch();
startDesk();
onChange(renderTop);
startLanguage();
connect();
