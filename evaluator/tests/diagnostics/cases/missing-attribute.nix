{ services.nginx.enabel = true; ok = ({ enable = true; package = 1; }).enabel; }
