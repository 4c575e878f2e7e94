import{g as h}from"./chunk-RLH3V6A7.js";function t(){return h("div",{class:"page",children:h("h1",{children:"Ask something."})})}export{t as default};
