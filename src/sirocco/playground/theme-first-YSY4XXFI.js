var e=localStorage.getItem("sirocco.theme");(e==="light"||e==="dark")&&(document.documentElement.dataset.theme=e);
